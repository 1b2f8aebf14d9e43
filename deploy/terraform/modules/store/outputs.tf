output "arn" { value = aws_s3_bucket.this.arn }
output "bucket" { value = aws_s3_bucket.this.bucket }
output "prefix" { value = local.prefix }
output "url" { value = "s3://${aws_s3_bucket.this.bucket}/${local.prefix}" }
output "policy" { value = local.policy }
