variable "name" { type = string }
variable "cluster_name" { type = string }
variable "region" { type = string }
variable "vpc_id" { type = string }
variable "subnet_ids" { type = list(string) }
variable "assign_public_ip" { type = bool }
variable "security_group_ids" { type = map(string) }
variable "image" { type = string }
variable "services" {
  type = map(object({
    cpu         = number
    memory      = number
    count       = number
    min_percent = number
    max_percent = number
    keys        = bool
    stop_s      = number
    spot        = bool
  }))
}
variable "services_enabled" { type = bool }
variable "one_task" { type = bool }
variable "environment" { type = map(string) }
variable "secrets_of" { type = map(map(string)) }
variable "execution_role_arns" { type = map(string) }
variable "task_role_arns" { type = map(string) }
variable "file_system_id" { type = string }
variable "access_point_id" { type = string }
variable "target_group_arn" { type = string }
variable "kms_key_arn" { type = string }
variable "log_retention_days" { type = number }
variable "enable_exec" { type = bool }
variable "enable_autoscaling" { type = bool }
variable "research_min" { type = number }
variable "research_max" { type = number }
variable "target_cpu" { type = number }
variable "broker_name" { type = string }
