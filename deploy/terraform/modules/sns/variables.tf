variable "name" { type = string }
variable "account_id" { type = string }
variable "kms_key_arn" { type = string }
variable "emails" { type = list(string) }
