variable "name" { type = string }
variable "vpc_id" { type = string }
variable "account_id" { type = string }
variable "subnet_ids" { type = list(string) }
variable "security_group_id" { type = string }
variable "certificate_arn" { type = string }
variable "oidc" {
  type = object({
    issuer                 = string
    authorization_endpoint = string
    token_endpoint         = string
    user_info_endpoint     = string
    client_id              = string
  })
}
variable "oidc_client_secret" {
  type      = string
  sensitive = true
}
variable "deletion_protection" { type = bool }
