output "cluster_arn" { value = aws_ecs_cluster.this.arn }
output "namespace" { value = "${var.name}.internal" }
output "log_group_names" { value = { for role in local.log_groups : role => aws_cloudwatch_log_group.this[role].name } }
