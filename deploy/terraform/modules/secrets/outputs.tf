output "arns" { value = { for name, one in aws_secretsmanager_secret.this : name => one.arn } }
output "names" { value = [for one in aws_secretsmanager_secret.this : one.name] }
