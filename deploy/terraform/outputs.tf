output "cluster" {
  description = "For deploy/scripts."
  value       = var.cluster_name
}

output "repository_url" {
  description = "Where deploy/scripts/build-and-push.sh pushes."
  value       = module.ecr.url
}

output "balancer_name" {
  description = "What the UI's name is an alias of."
  value       = local.is_dev ? null : module.alb[0].dns_name
}

output "nat_addresses" {
  description = "What Bybit sees: bind the key to these."
  value       = module.vpc.nat_addresses
}

output "secret_names" {
  description = "To be filled in by hand before the services are enabled."
  value       = module.secrets.names
}

output "deploy_role_arn" {
  description = "Which the workflows of releases assume."
  value       = module.iam.deploy_role_arn
}

output "plan_role_arn" {
  description = "Which the workflow of pull requests assumes: it only reads."
  value       = module.iam.plan_role_arn
}

output "store_url" {
  description = "Where candles and reports of research are, with candles_in_s3."
  value       = var.candles_in_s3 ? module.store[0].url : null
}

output "services" {
  description = "Roles: how many tasks, and how many while a release replaces them."
  value       = { for role, one in local.services : role => { count = one.count, min_percent = one.min_percent, max_percent = one.max_percent } }
}

output "settings" {
  description = "Variables of all tasks, without secrets."
  value       = local.environment
}

output "secrets_of" {
  description = "Names of the secret variables that each role gets."
  value       = { for role, one in local.secrets_of : role => keys(one) }
}
