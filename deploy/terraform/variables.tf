# Where and what

variable "region" {
  description = "Region of everything."
  type        = string
  default     = "ap-northeast-2"
}

variable "zones" {
  description = "The two zones, by name: nothing is asked of AWS while planning."
  type        = list(string)
  default     = ["ap-northeast-2a", "ap-northeast-2c"]
  validation {
    condition     = length(var.zones) == 2
    error_message = "Expected two zones."
  }
}

variable "account_id" {
  description = "The AWS account, twelve digits, for the policies of keys and buckets."
  type        = string
  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "Expected the twelve digits of the AWS account."
  }
}

variable "name" {
  description = "What names begin with."
  type        = string
  default     = "crypto-trading"
}

variable "environment" {
  description = "Part of names and tags."
  type        = string
  default     = "production"
}

variable "variant" {
  description = "dev: one task and one small database; default: a service for each role, two zones, one NAT; ha: two of what may be two."
  type        = string
  default     = "default"
  validation {
    condition     = contains(["dev", "default", "ha"], var.variant)
    error_message = "Expected dev, default or ha."
  }
}

variable "image" {
  description = "The image by digest, REPOSITORY@sha256:..., as deploy/scripts/build-and-push.sh prints it."
  type        = string
  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "Expected an image by digest: a tag may mean another image tomorrow."
  }
}

variable "services_enabled" {
  description = "false: everything but running tasks, for the first apply, before the image, secrets and tables are there."
  type        = bool
  default     = true
}

# The application

variable "venue" {
  description = "TRADING_ASSETS_VENUE. paper and simulator have their exchange on one machine, so they need the variant dev."
  type        = string
  default     = "demo"
  validation {
    condition     = contains(["simulator", "paper", "demo", "testnet", "mainnet"], var.venue)
    error_message = "Expected simulator, paper, demo, testnet or mainnet."
  }
  validation {
    condition     = var.variant == "dev" || !contains(["simulator", "paper"], var.venue)
    error_message = "simulator and paper keep their exchange on one machine; expected the variant dev, or demo, testnet or mainnet."
  }
}

variable "settings" {
  description = "Further settings of the application (docs/reference/settings.md). No secrets: these are readable."
  type        = map(string)
  default     = {}
}

variable "secrets_in_use" {
  description = "Which optional secrets are given to tasks. A secret without a value keeps a task from starting."
  type        = set(string)
  default     = []
  validation {
    condition     = length(setsubtract(var.secrets_in_use, ["telegram-token", "encryption-key"])) == 0
    error_message = "Expected some of telegram-token and encryption-key."
  }
}

variable "enable_mirror" {
  description = "DynamoDB tables that other programs read, and the part of `serve` that fills them."
  type        = bool
  default     = true
}

variable "candles_in_s3" {
  description = "Candles, sealed backtests and reports of research in a bucket of S3, not on EFS: docs/howto/store.md. The home stays on EFS."
  type        = bool
  default     = false
}

variable "store_noncurrent_days" {
  description = "How long the bucket keeps what was replaced or deleted. Each hour replaces a chunk of each coin and timeframe."
  type        = number
  default     = 7
  validation {
    condition     = var.store_noncurrent_days >= 1
    error_message = "Expected a day or more: a version that is gone cannot be taken back."
  }
}

# Network

variable "vpc_cidr" {
  description = "Of the VPC; subnets are cut from it: .0 .1 public, .10 .11 private, .20 .21 database, .30 .31 cache."
  type        = string
  default     = "10.0.0.0/16"
}

variable "single_nat" {
  description = "One NAT for both zones. null: as the variant says (ha has two, dev none)."
  type        = bool
  default     = null
}

variable "enable_vpc_endpoints" {
  description = "Interface endpoints for ECR, logs and secrets (they cost by the hour); those of S3 and DynamoDB are always there."
  type        = bool
  default     = false
}

variable "allowed_cidrs" {
  description = "From where the balancer is reached: the VPC alone where it is internal."
  type        = list(string)
  default     = []
}

variable "certificate_arn" {
  description = "Certificate of the UI's name (ACM). Needed where there is a balancer."
  type        = string
  default     = ""
  validation {
    condition     = var.variant == "dev" || can(regex("^arn:aws[a-z-]*:acm:", var.certificate_arn))
    error_message = "The balancer serves TLS alone; expected the ARN of a certificate of ACM."
  }
}

variable "ui_url" {
  description = "Where people see the UI, https://NAME; the guard lets it be seen there alone."
  type        = string
  default     = "http://127.0.0.1:3000"
  validation {
    condition     = var.variant == "dev" || startswith(var.ui_url, "https://")
    error_message = "Expected https://NAME, the name of the certificate."
  }
}

variable "oidc" {
  description = "Log-in before the UI. null: the balancer is internal, reached by VPN or peering alone."
  type = object({
    issuer                 = string
    authorization_endpoint = string
    token_endpoint         = string
    user_info_endpoint     = string
    client_id              = string
  })
  default = null
}

variable "oidc_client_secret" {
  description = "Of the log-in. It is in the state, which is encrypted."
  type        = string
  default     = ""
  sensitive   = true
}

# Sizes the sources give

variable "database_version" {
  description = "Major version of PostgreSQL; minor ones come by themselves."
  type        = string
  default     = "15"
}

variable "database_storage_gb" {
  description = "Storage of the database, gp3."
  type        = number
  default     = 20
}

variable "broker_name" {
  description = "Of Amazon MQ."
  type        = string
  default     = "crypto-trading-broker"
}

variable "broker_password" {
  description = "Of the broker's user, 12 characters or more, without comma, colon and equals sign. It is in the state, which is encrypted; tasks read it from the secret broker-password."
  type        = string
  default     = ""
  sensitive   = true
  validation {
    condition     = var.variant == "dev" || can(regex("^[^,:=]{12,250}$", var.broker_password))
    error_message = "Expected 12 to 250 characters without comma, colon and equals sign."
  }
}

variable "cluster_name" {
  description = "Of ECS."
  type        = string
  default     = "crypto-backtest-cluster"
}

variable "repository_name" {
  description = "Of ECR. One image has all roles, so there is one repository."
  type        = string
  default     = "tradingbot-ai-production"
}

variable "secrets_prefix" {
  description = "What the names of secrets begin with."
  type        = string
  default     = "tradingbot-ai/production"
}

variable "table_prefix" {
  description = "What the names of the mirror's tables begin with."
  type        = string
  default     = "crypto-backtest-"
}

variable "research_min" {
  description = "Least number of research workers. null: as the variant says."
  type        = number
  default     = null
}

variable "research_max" {
  description = "Greatest number of research workers; the groups of dagster.yaml count on all of them."
  type        = number
  default     = 10
}

variable "autoscaling_target_cpu" {
  description = "CPU at which research workers are added, percent."
  type        = number
  default     = 70
}

variable "enable_autoscaling" {
  description = "false leaves research workers at their least number (and where a test server does not know auto scaling)."
  type        = bool
  default     = true
}

variable "research_spot" {
  description = "Research on Fargate Spot: a run that is interrupted is delivered again."
  type        = bool
  default     = false
}

variable "enable_exec" {
  description = "ECS Exec into tasks: for the variant dev, whose UI is reached by port forwarding."
  type        = bool
  default     = null
}

# Watching

variable "alarm_emails" {
  description = "Who is written to; each address confirms once."
  type        = list(string)
  default     = []
}

variable "log_retention_days" {
  description = "Of the services' logs."
  type        = number
  default     = 7
}

# Releases

variable "github_repository" {
  description = "owner/name whose releases may deploy (and pull requests plan, with github_plans); empty: none."
  type        = string
  default     = ""
}

variable "github_environment" {
  description = "Environment of GitHub that a deployment runs in; its rules say who approves."
  type        = string
  default     = "production"
}

variable "github_plans" {
  description = "Whether pull requests of that repository get a role that plans. It reads the state, which has two passwords in it."
  type        = bool
  default     = false
}

variable "state_bucket" {
  description = "Bucket of the state, which plans of pull requests read. null: the one that bootstrap/ makes."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Whether database and balancer refuse to be destroyed. null: as the variant says (dev does not)."
  type        = bool
  default     = null
}
