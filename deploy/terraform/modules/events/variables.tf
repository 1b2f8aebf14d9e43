variable "name" { type = string }
variable "cluster_arn" { type = string }
variable "topic_arn" { type = string }
