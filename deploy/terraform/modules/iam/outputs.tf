output "execution_role_arns" { value = { for kind, one in aws_iam_role.execution : kind => one.arn } }
output "task_role_arns" { value = { for role, one in aws_iam_role.task : role => one.arn } }
output "deploy_role_arn" { value = one(aws_iam_role.deploy[*].arn) }
output "plan_role_arn" { value = one(aws_iam_role.plan[*].arn) }
output "actions_on_everything" { value = distinct(local.actions_on_everything) }
output "task_policies" { value = local.task_policies }
output "all_actions" { value = distinct(local.all_actions) }
