# Rules that hold whatever a variant's sizes are. The provider is mocked: nothing is asked of AWS.
mock_provider "aws" {
  mock_resource "aws_db_instance" {
    defaults = {
      address            = "database.example"
      master_user_secret = [{ secret_arn = "arn:aws:secretsmanager:ap-northeast-2:123456789012:secret:rds" }]
    }
  }
  mock_resource "aws_mq_broker" {
    defaults = { instances = [{ endpoints = ["amqps://broker.example:5671"] }] }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mocked" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:ap-northeast-2:123456789012:key/mocked" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:ap-northeast-2:123456789012:mocked" }
  }
  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:ap-northeast-2:123456789012:loadbalancer/app/mocked/0123456789abcdef" }
  }
  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:ap-northeast-2:123456789012:targetgroup/mocked/0123456789abcdef" }
  }
  mock_resource "aws_secretsmanager_secret" {
    defaults = { arn = "arn:aws:secretsmanager:ap-northeast-2:123456789012:secret:mocked" }
  }
  mock_resource "aws_efs_access_point" {
    defaults = { arn = "arn:aws:elasticfilesystem:ap-northeast-2:123456789012:access-point/fsap-0123456789abcdef0" }
  }
  mock_resource "aws_efs_file_system" {
    defaults = { arn = "arn:aws:elasticfilesystem:ap-northeast-2:123456789012:file-system/fs-01234567" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::mocked" }
  }
  mock_resource "aws_ecr_repository" {
    defaults = { arn = "arn:aws:ecr:ap-northeast-2:123456789012:repository/mocked" }
  }
  mock_resource "aws_ecs_cluster" {
    defaults = { arn = "arn:aws:ecs:ap-northeast-2:123456789012:cluster/mocked" }
  }
  mock_resource "aws_ecs_task_definition" {
    defaults = { arn = "arn:aws:ecs:ap-northeast-2:123456789012:task-definition/mocked:1" }
  }
  mock_resource "aws_service_discovery_service" {
    defaults = { arn = "arn:aws:servicediscovery:ap-northeast-2:123456789012:service/srv-mocked" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:ap-northeast-2:123456789012:log-group:mocked" }
  }
  mock_resource "aws_appautoscaling_policy" {
    defaults = { arn = "arn:aws:autoscaling:ap-northeast-2:123456789012:scalingPolicy:mocked" }
  }
  mock_resource "aws_iam_openid_connect_provider" {
    defaults = { arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" }
  }
}

variables {
  account_id        = "123456789012"
  image             = "123456789012.dkr.ecr.ap-northeast-2.amazonaws.com/tradingbot-ai-production@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  broker_password   = "not-a-secret-at-all"
  certificate_arn   = "arn:aws:acm:ap-northeast-2:123456789012:certificate/00000000-0000-0000-0000-000000000000"
  ui_url            = "https://desk.example.com"
  github_repository = "someone/trading_assets"
}

run "default" {
  command = apply

  # Nothing public but the balancer, and that only behind a log-in.
  assert {
    condition     = module.alb[0].internal
    error_message = "Without a log-in the balancer must be internal."
  }

  # One writer, one daemon.
  assert {
    condition     = output.services.daemon.count == 1 && output.services.daemon.max_percent == 100
    error_message = "Two daemons at once are never right."
  }
  assert {
    condition     = output.services.trading.count == 1
    error_message = "Expected one trading task."
  }
  assert {
    condition     = output.services.research.count == 2
    error_message = "Expected the sources' two workers at least."
  }

  # Who sees what.
  assert {
    condition     = length([for role in ["web", "daemon", "research", "migrate"] : role if length([for name in output.secrets_of[role] : name if startswith(name, "BYBIT") || strcontains(name, "ENCRYPTION")]) > 0]) == 0
    error_message = "A role that places no order gets no key."
  }
  assert {
    condition     = contains(output.secrets_of.trading, "BYBIT_API_SECRET")
    error_message = "The trading worker needs the key."
  }

  # Least privilege.
  assert {
    condition     = length([for action in module.iam.all_actions : action if endswith(action, "*")]) == 0
    error_message = "No wildcard among the actions of a role."
  }
  assert {
    condition     = length(setsubtract(module.iam.actions_on_everything, ["ecr:GetAuthorizationToken", "ecs:RegisterTaskDefinition", "ecs:DescribeTaskDefinition"])) == 0
    error_message = "Only actions that know no narrower resource may be allowed on all."
  }

  assert {
    condition     = output.deploy_role_arn != null && output.plan_role_arn == null
    error_message = "Expected a role for releases; one that reads the state only where it is asked for."
  }

  assert {
    condition     = output.store_url == null && !contains(keys(output.settings), "TRADING_ASSETS_STORE_URL") && !contains(module.iam.all_actions, "s3:PutObject")
    error_message = "Candles are on EFS unless S3 is asked for."
  }

  assert {
    condition     = length(module.cloudwatch.alarm_names) >= 12
    error_message = "The sources have twelve alarms."
  }
}

run "ha" {
  command = apply
  variables {
    variant = "ha"
  }
  assert {
    condition     = output.services.daemon.count == 1 && output.services.daemon.max_percent == 100
    error_message = "Also here one daemon."
  }
  assert {
    condition     = output.services.web.count == 2 && output.services.trading.count == 2 && length(output.nat_addresses) == 2
    error_message = "Expected two of what may be two: the ledger's lease decides which of two trading workers sends."
  }
}

run "dev" {
  command = apply
  variables {
    variant         = "dev"
    venue           = "paper"
    certificate_arn = ""
    ui_url          = "http://127.0.0.1:3000"
    broker_password = ""
  }
  assert {
    condition     = length(output.services) == 0 && output.balancer_name == null && length(output.nat_addresses) == 0
    error_message = "Expected one task, without balancer and NAT."
  }
  assert {
    condition     = length(setsubtract(module.iam.actions_on_everything, ["ecr:GetAuthorizationToken", "ecs:RegisterTaskDefinition", "ecs:DescribeTaskDefinition", "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"])) == 0
    error_message = "ECS Exec's four channels besides, and nothing else."
  }
}

run "behind_a_log_in" {
  command = apply
  variables {
    allowed_cidrs = ["0.0.0.0/0"]
    oidc = {
      issuer                 = "https://login.example.com"
      authorization_endpoint = "https://login.example.com/authorize"
      token_endpoint         = "https://login.example.com/token"
      user_info_endpoint     = "https://login.example.com/userinfo"
      client_id              = "desk"
    }
    oidc_client_secret = "not-a-secret"
  }
  assert {
    condition     = !module.alb[0].internal
    error_message = "With a log-in the balancer is reached from outside."
  }
}

run "candles_in_s3" {
  command = apply
  variables {
    candles_in_s3 = true
    github_plans  = true
  }
  assert {
    condition     = output.plan_role_arn != null
    error_message = "Expected a role for plans of pull requests."
  }
  assert {
    condition     = output.store_url == "s3://crypto-trading-store-123456789012/production"
    error_message = "Expected the account's own bucket, and a prefix."
  }
  assert {
    condition     = output.settings.TRADING_ASSETS_STORE_URL == output.store_url && startswith(output.settings.TRADING_ASSETS_STORE_CACHE_DIR, "/tmp/")
    error_message = "Tasks are told the URL, and keep copies in their own /tmp, not on EFS."
  }
  assert {
    condition     = [for role, policy in module.iam.task_policies : role if contains(flatten(policy.Statement[*].Action), "s3:PutObject")] == ["all", "research"]
    error_message = "Research alone writes there (`all` is the variant dev's one task)."
  }
  assert {
    condition     = [for role, policy in module.iam.task_policies : role if contains(flatten(policy.Statement[*].Action), "s3:GetObject")] == ["all", "research", "serve"]
    error_message = "Besides research, the live page's charts read. No order waits for S3, so trading has no right there."
  }
  assert {
    condition = alltrue(flatten([
      for policy in module.iam.task_policies : [
        for statement in policy.Statement : startswith(statement.Resource, "arn:aws:s3:::mocked/production/") if length(setintersection(statement.Action, ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"])) > 0
      ]
    ]))
    error_message = "Objects below the prefix, and no other."
  }
  assert {
    condition     = length([for action in module.iam.all_actions : action if endswith(action, "*")]) == 0 && length(setsubtract(module.iam.actions_on_everything, ["ecr:GetAuthorizationToken", "ecs:RegisterTaskDefinition", "ecs:DescribeTaskDefinition"])) == 0
    error_message = "Also with the bucket no wildcard."
  }
}

run "an_unknown_variant_is_refused" {
  command = plan
  variables {
    variant = "huge"
  }
  expect_failures = [var.variant]
}

run "paper_on_several_machines_is_refused" {
  command = plan
  variables {
    venue = "paper"
  }
  expect_failures = [var.venue]
}

run "an_image_by_tag_is_refused" {
  command = plan
  variables {
    image = "123456789012.dkr.ecr.ap-northeast-2.amazonaws.com/tradingbot-ai-production:latest"
  }
  expect_failures = [var.image]
}

run "a_balancer_without_tls_is_refused" {
  command = plan
  variables {
    certificate_arn = ""
  }
  expect_failures = [var.certificate_arn]
}
