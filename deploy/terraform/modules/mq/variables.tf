variable "name" { type = string }
variable "subnet_ids" { type = list(string) }
variable "security_group_id" { type = string }
variable "kms_key_arn" { type = string }
variable "instance_type" { type = string }
variable "deployment_mode" { type = string }
variable "password" {
  type      = string
  sensitive = true
}
