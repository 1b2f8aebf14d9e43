variable "name" { type = string }
variable "account_id" { type = string }
variable "prefix" { type = string }
variable "kms_key_arn" { type = string }
variable "noncurrent_days" { type = number }
variable "force_destroy" { type = bool }
