variable "prefix" { type = string }
variable "kms_key_arn" { type = string }
variable "broker_password" {
  type      = string
  sensitive = true
}
