variable "name" { type = string }
variable "region" { type = string }
variable "account_id" { type = string }
variable "kms_key_arn" { type = string }
variable "repository_arn" { type = string }
variable "file_system_arn" { type = string }
variable "access_point_arn" { type = string }
# Bucket and prefix of candles and reports; null: they are on EFS.
variable "store" {
  type = object({
    arn    = string
    prefix = string
  })
}
variable "topic_arn" { type = string }
variable "table_arns" { type = list(string) }
variable "plain_secret_arns" { type = list(string) }
variable "keyed_secret_arns" { type = list(string) }
variable "cluster_name" { type = string }
variable "log_group_arn_prefix" { type = string }
variable "enable_exec" { type = bool }
variable "github_repository" { type = string }
variable "github_environment" { type = string }
variable "github_plans" { type = bool }
variable "broker_name" { type = string }
# Bucket and key of Terraform's state, which a plan reads.
variable "state" {
  type = object({
    bucket = string
    key    = string
  })
}
