variable "prefix" { type = string }
variable "kms_key_arn" { type = string }
