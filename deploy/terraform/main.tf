locals {
  environment = merge(
    {
      LAUNCHER                              = local.is_dev ? "processes" : "workers"
      CODE_HOST                             = local.is_dev ? "127.0.0.1" : "code.${module.ecs.namespace}"
      DATABASE_HOST                         = module.rds.address
      DATABASE_USER                         = module.rds.user
      DATABASE_OPTIONS                      = "sslmode=require"
      RESEARCH_CONCURRENCY                  = tostring(local.research_concurrency)
      RESEARCH_PROCESSES                    = tostring(local.research_max * local.research_concurrency)
      START_TIMEOUT_S                       = "600" # a task of Fargate that a backlog has asked for needs minutes
      TRADING_ASSETS_VENUE                  = var.venue
      TRADING_ASSETS_UI_URL                 = var.ui_url
      TRADING_ASSETS_LOG_FORMAT             = "json"
      TRADING_ASSETS_LIMITS_DIR             = "/tmp/limits"
      TRADING_ASSETS_BACKFILL_HOURS_PER_RUN = "24"
      TRADING_ASSETS_NOTIFY_URLS            = jsonencode([module.sns.topic_arn])
      AWS_DEFAULT_REGION                    = var.region
    },
    local.is_dev ? {} : { BROKER_HOST = module.mq[0].host, BROKER_SCHEME = "amqps", BROKER_USER = module.mq[0].user },
    var.oidc == null ? {} : { TRADING_ASSETS_UI_USER_HEADER = "x-amzn-oidc-identity" },
    var.candles_in_s3 ? { TRADING_ASSETS_STORE_URL = module.store[0].url, TRADING_ASSETS_STORE_CACHE_DIR = "/tmp/copies" } : {},
    var.enable_mirror ? { TRADING_ASSETS_DYNAMODB_MIRROR = "true", TRADING_ASSETS_DYNAMODB_PREFIX = var.table_prefix } : {},
    var.settings,
  )

  # Variable: ARN of its secret, with the key in it where it holds more than one. What every role needs, and what only
  # roles with keys get.
  plain_secrets = merge(
    { DATABASE_PASSWORD = "${module.rds.secret_arn}:password::" },
    local.is_dev ? {} : { BROKER_PASSWORD = module.secrets.arns["broker-password"] },
  )
  web_secrets = { TRADING_ASSETS_UI_TOKEN = module.secrets.arns["ui-token"] }
  key_secrets = merge(
    contains(["demo", "testnet", "mainnet"], var.venue) ? {
      BYBIT_API_KEY    = module.secrets.arns["bybit-api-key"]
      BYBIT_API_SECRET = module.secrets.arns["bybit-api-secret"]
    } : {},
    contains(var.secrets_in_use, "encryption-key") ? { TRADING_ASSETS_ENCRYPTION_KEY = module.secrets.arns["encryption-key"] } : {},
  )
  serve_secrets = contains(var.secrets_in_use, "telegram-token") ? { TRADING_ASSETS_TELEGRAM_TOKEN = module.secrets.arns["telegram-token"] } : {}

  secrets_of = {
    web      = merge(local.plain_secrets, local.web_secrets)
    code     = merge(local.plain_secrets, local.key_secrets)
    daemon   = local.plain_secrets
    research = local.plain_secrets
    trading  = merge(local.plain_secrets, local.key_secrets)
    serve    = merge(local.plain_secrets, local.key_secrets, local.serve_secrets)
    migrate  = local.plain_secrets
    all      = merge(local.plain_secrets, local.web_secrets, local.key_secrets, local.serve_secrets)
  }
}

module "kms" {
  source     = "./modules/kms"
  name       = var.name
  account_id = var.account_id
  region     = var.region
}

module "vpc" {
  source               = "./modules/vpc"
  name                 = var.name
  region               = var.region
  cidr                 = var.vpc_cidr
  zones                = var.zones
  nats                 = local.nats
  enable_vpc_endpoints = var.enable_vpc_endpoints
  endpoints_group_id   = module.security_groups.ids["endpoints"]
  log_retention_days   = var.log_retention_days
  kms_key_arn          = module.kms.arn
}

module "security_groups" {
  source        = "./modules/security_groups"
  name          = var.name
  vpc_id        = module.vpc.id
  allowed_cidrs = var.oidc == null && length(var.allowed_cidrs) == 0 ? [var.vpc_cidr] : var.allowed_cidrs
  with_balancer = !local.is_dev
}

module "rds" {
  source              = "./modules/rds"
  name                = var.name
  subnet_ids          = module.vpc.database_subnet_ids
  security_group_id   = module.security_groups.ids["database"]
  kms_key_arn         = module.kms.arn
  engine_version      = var.database_version
  instance_class      = local.database.instance_class
  multi_az            = local.database.multi_az
  storage_gb          = var.database_storage_gb
  deletion_protection = local.deletion_protection
}

module "efs" {
  source            = "./modules/efs"
  name              = var.name
  subnet_ids        = local.is_dev ? module.vpc.public_subnet_ids : module.vpc.private_subnet_ids
  security_group_id = module.security_groups.ids["files"]
  kms_key_arn       = module.kms.arn
}

module "store" {
  source          = "./modules/store"
  count           = var.candles_in_s3 ? 1 : 0
  name            = var.name
  account_id      = var.account_id
  prefix          = var.environment
  kms_key_arn     = module.kms.arn
  noncurrent_days = var.store_noncurrent_days
  force_destroy   = !local.deletion_protection
}

module "mq" {
  source            = "./modules/mq"
  count             = local.is_dev ? 0 : 1
  name              = var.broker_name
  subnet_ids        = [module.vpc.private_subnet_ids[0]]
  security_group_id = module.security_groups.ids["broker"]
  kms_key_arn       = module.kms.arn
  instance_type     = local.broker.instance_type
  deployment_mode   = local.broker.deployment_mode
  password          = var.broker_password
}

module "secrets" {
  source      = "./modules/secrets"
  prefix      = var.secrets_prefix
  kms_key_arn = module.kms.arn
}

module "dynamodb" {
  source      = "./modules/dynamodb"
  count       = var.enable_mirror ? 1 : 0
  prefix      = var.table_prefix
  kms_key_arn = module.kms.arn
}

module "sns" {
  source      = "./modules/sns"
  name        = var.name
  account_id  = var.account_id
  kms_key_arn = module.kms.arn
  emails      = var.alarm_emails
}

module "ecr" {
  source      = "./modules/ecr"
  name        = var.repository_name
  kms_key_arn = module.kms.arn
}

module "iam" {
  source               = "./modules/iam"
  name                 = var.name
  region               = var.region
  account_id           = var.account_id
  kms_key_arn          = module.kms.arn
  repository_arn       = module.ecr.arn
  file_system_arn      = module.efs.arn
  access_point_arn     = module.efs.access_point_arn
  topic_arn            = module.sns.topic_arn
  store                = var.candles_in_s3 ? { arn = module.store[0].arn, prefix = module.store[0].prefix } : null
  table_arns           = var.enable_mirror ? module.dynamodb[0].arns : []
  plain_secret_arns    = concat([module.rds.secret_arn, module.secrets.arns["ui-token"]], local.is_dev ? [] : [module.secrets.arns["broker-password"]])
  keyed_secret_arns    = values(module.secrets.arns)
  cluster_name         = var.cluster_name
  log_group_arn_prefix = "arn:aws:logs:${var.region}:${var.account_id}:log-group:/ecs/${var.name}"
  enable_exec          = local.exec
  github_repository    = var.github_repository
  github_environment   = var.github_environment
  github_plans         = var.github_plans
  broker_name          = var.broker_name
  state                = { bucket = coalesce(var.state_bucket, "crypto-trading-terraform-${var.account_id}"), key = "production.tfstate" }
}

module "alb" {
  source              = "./modules/alb"
  count               = local.is_dev ? 0 : 1
  name                = var.name
  vpc_id              = module.vpc.id
  account_id          = var.account_id
  subnet_ids          = var.oidc == null ? module.vpc.private_subnet_ids : module.vpc.public_subnet_ids
  security_group_id   = module.security_groups.ids["balancer"]
  certificate_arn     = var.certificate_arn
  oidc                = var.oidc
  oidc_client_secret  = var.oidc_client_secret
  deletion_protection = local.deletion_protection
}

module "ecs" {
  source              = "./modules/ecs"
  name                = var.name
  cluster_name        = var.cluster_name
  region              = var.region
  vpc_id              = module.vpc.id
  subnet_ids          = local.is_dev ? module.vpc.public_subnet_ids : module.vpc.private_subnet_ids
  assign_public_ip    = local.is_dev
  security_group_ids  = module.security_groups.ids
  image               = var.image
  services            = local.services
  services_enabled    = var.services_enabled
  one_task            = local.is_dev
  environment         = local.environment
  secrets_of          = local.secrets_of
  execution_role_arns = module.iam.execution_role_arns
  task_role_arns      = module.iam.task_role_arns
  file_system_id      = module.efs.id
  access_point_id     = module.efs.access_point_id
  target_group_arn    = local.is_dev ? null : module.alb[0].target_group_arn
  kms_key_arn         = module.kms.arn
  log_retention_days  = var.log_retention_days
  enable_exec         = local.exec
  enable_autoscaling  = var.enable_autoscaling && !local.is_dev
  research_min        = local.research_min
  research_max        = local.research_max
  target_cpu          = var.autoscaling_target_cpu
  broker_name         = local.is_dev ? null : var.broker_name
}

module "events" {
  source      = "./modules/events"
  name        = var.name
  cluster_arn = module.ecs.cluster_arn
  topic_arn   = module.sns.topic_arn
}

module "cloudwatch" {
  source          = "./modules/cloudwatch"
  name            = var.name
  region          = var.region
  topic_arn       = module.sns.topic_arn
  cluster_name    = var.cluster_name
  services        = local.is_dev ? { all = 1 } : { for role, one in local.services : role => one.count }
  log_groups      = module.ecs.log_group_names
  database_id     = module.rds.id
  broker_name     = local.is_dev ? null : var.broker_name
  with_balancer   = !local.is_dev
  balancer_suffix = local.is_dev ? null : module.alb[0].arn_suffix
  target_suffix   = local.is_dev ? null : module.alb[0].target_group_arn_suffix
  table_names     = var.enable_mirror ? module.dynamodb[0].names : []
}
