variable "name" { type = string }
variable "vpc_id" { type = string }
variable "allowed_cidrs" { type = list(string) }
variable "with_balancer" { type = bool }
