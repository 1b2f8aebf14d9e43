output "arns" { value = [for one in aws_dynamodb_table.this : one.arn] }
output "names" { value = [for key, _ in local.tables : "${var.prefix}${key}"] }
