output "id" { value = aws_db_instance.this.identifier }
output "address" { value = aws_db_instance.this.address }
output "user" { value = aws_db_instance.this.username }
output "secret_arn" { value = aws_db_instance.this.master_user_secret[0].secret_arn }
