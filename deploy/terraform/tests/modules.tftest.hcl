# What single modules promise: encryption, no public address, one subnet range for each tier.
mock_provider "aws" {}

run "network" {
  command = plan
  module {
    source = "./modules/vpc"
  }
  variables {
    name                 = "test"
    region               = "ap-northeast-2"
    cidr                 = "10.0.0.0/16"
    zones                = ["ap-northeast-2a", "ap-northeast-2c"]
    nats                 = 1
    enable_vpc_endpoints = true
    endpoints_group_id   = "sg-1"
    log_retention_days   = 7
    kms_key_arn          = "arn:aws:kms:ap-northeast-2:123456789012:key/mocked"
  }
  assert {
    condition     = { for key, one in aws_subnet.this : key => one.cidr_block } == { public-0 = "10.0.0.0/24", public-1 = "10.0.1.0/24", private-0 = "10.0.10.0/24", private-1 = "10.0.11.0/24", database-0 = "10.0.20.0/24", database-1 = "10.0.21.0/24", cache-0 = "10.0.30.0/24", cache-1 = "10.0.31.0/24" }
    error_message = "Expected the sources' ranges."
  }
  assert {
    condition     = alltrue([for one in aws_subnet.this : !one.map_public_ip_on_launch])
    error_message = "No subnet gives public addresses by itself."
  }
}

run "database" {
  command = plan
  module {
    source = "./modules/rds"
  }
  variables {
    name                = "test"
    subnet_ids          = ["subnet-1", "subnet-2"]
    security_group_id   = "sg-1"
    kms_key_arn         = "arn:aws:kms:ap-northeast-2:123456789012:key/mocked"
    engine_version      = "15"
    instance_class      = "db.t3.micro"
    multi_az            = true
    storage_gb          = 20
    deletion_protection = true
  }
  assert {
    condition     = aws_db_instance.this.storage_encrypted && !aws_db_instance.this.publicly_accessible && aws_db_instance.this.multi_az
    error_message = "Expected an encrypted, private database in two zones."
  }
  assert {
    condition     = aws_db_instance.this.backup_retention_period == 7 && aws_db_instance.this.manage_master_user_password
    error_message = "Expected seven days of backups, and a password that is not in the state."
  }
}

run "broker" {
  command = plan
  module {
    source = "./modules/mq"
  }
  variables {
    name              = "test"
    subnet_ids        = ["subnet-1"]
    security_group_id = "sg-1"
    kms_key_arn       = "arn:aws:kms:ap-northeast-2:123456789012:key/mocked"
    instance_type     = "mq.t3.micro"
    deployment_mode   = "SINGLE_INSTANCE"
    password          = "not-a-secret-at-all"
  }
  assert {
    condition     = !aws_mq_broker.this.publicly_accessible && !aws_mq_broker.this.encryption_options[0].use_aws_owned_key
    error_message = "Expected a private broker, encrypted by our key."
  }
}

run "files_and_images" {
  command = plan
  module {
    source = "./modules/efs"
  }
  variables {
    name              = "test"
    subnet_ids        = ["subnet-1", "subnet-2"]
    security_group_id = "sg-1"
    kms_key_arn       = "arn:aws:kms:ap-northeast-2:123456789012:key/mocked"
  }
  assert {
    condition     = aws_efs_file_system.this.encrypted && aws_efs_access_point.this.posix_user[0].uid == 10001
    error_message = "Expected an encrypted folder of the image's user."
  }
}

run "plans_of_pull_requests" {
  command = apply
  module {
    source = "./modules/iam"
  }
  variables {
    name                 = "test"
    region               = "ap-northeast-2"
    account_id           = "123456789012"
    kms_key_arn          = "arn:aws:kms:ap-northeast-2:123456789012:key/mocked"
    repository_arn       = "arn:aws:ecr:ap-northeast-2:123456789012:repository/mocked"
    file_system_arn      = "arn:aws:elasticfilesystem:ap-northeast-2:123456789012:file-system/fs-01234567"
    access_point_arn     = "arn:aws:elasticfilesystem:ap-northeast-2:123456789012:access-point/fsap-0123456789abcdef0"
    store                = { arn = "arn:aws:s3:::test-store-123456789012", prefix = "production" }
    topic_arn            = "arn:aws:sns:ap-northeast-2:123456789012:mocked"
    table_arns           = ["arn:aws:dynamodb:ap-northeast-2:123456789012:table/mocked"]
    plain_secret_arns    = ["arn:aws:secretsmanager:ap-northeast-2:123456789012:secret:plain"]
    keyed_secret_arns    = ["arn:aws:secretsmanager:ap-northeast-2:123456789012:secret:keyed"]
    cluster_name         = "mocked"
    log_group_arn_prefix = "arn:aws:logs:ap-northeast-2:123456789012:log-group:/ecs/test"
    enable_exec          = false
    github_repository    = "someone/trading_assets"
    github_environment   = "production"
    github_plans         = true
    broker_name          = "mocked"
    state                = { bucket = "state-123456789012", key = "production.tfstate" }
  }
  override_resource {
    target = aws_iam_openid_connect_provider.github
    values = { arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" }
  }
  assert {
    condition = jsondecode(aws_iam_role.plan[0].assume_role_policy) == {
      Version = "2012-10-17"
      Statement = [{
        Effect    = "Allow"
        Action    = "sts:AssumeRoleWithWebIdentity"
        Principal = { Federated = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com" }
        Condition = {
          StringEquals = {
            "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
            "token.actions.githubusercontent.com:sub" = "repo:someone/trading_assets:pull_request"
          }
        }
      }]
    }
    error_message = "Pull requests of the one repository, and nobody else."
  }
  assert {
    condition     = length([for action in flatten([for one in jsondecode(aws_iam_role_policy.plan[0].policy).Statement : one.Action if one.Effect == "Allow"]) : action if !can(regex("^[a-z0-9-]+:(Describe|Get|List)[A-Za-z]+$", action)) && action != "kms:Decrypt"]) == 0
    error_message = "It describes, gets and lists; it writes nothing, also no lock."
  }
  assert {
    condition     = length([for action in flatten([for one in jsondecode(aws_iam_role_policy.plan[0].policy).Statement : one.Action if one.Effect == "Allow"]) : action if contains(["dynamodb:GetItem", "ecr:GetAuthorizationToken", "ecr:GetDownloadUrlForLayer", "logs:GetLogEvents", "secretsmanager:GetSecretValue", "ssm:GetParameter"], action)]) == 0
    error_message = "How things are set up, not what is in them."
  }
  assert {
    condition = [for one in jsondecode(aws_iam_role_policy.plan[0].policy).Statement : one if one.Effect == "Deny"] == [{
      Sid      = "NoValueOfASecret"
      Effect   = "Deny"
      Action   = ["secretsmanager:BatchGetSecretValue", "secretsmanager:GetSecretValue", "ssm:GetParameter", "ssm:GetParameterHistory", "ssm:GetParameters", "ssm:GetParametersByPath"]
      Resource = "*"
    }]
    error_message = "No value of a secret, whatever else is attached to the role."
  }
  assert {
    condition     = flatten([for one in jsondecode(aws_iam_role_policy.plan[0].policy).Statement : one.Resource if contains(one.Action, "s3:GetObject")]) == ["arn:aws:s3:::state-123456789012/production.tfstate"]
    error_message = "Of all objects it reads the state alone."
  }
  assert {
    condition = [for one in jsondecode(aws_iam_role_policy.plan[0].policy).Statement : one.Condition if contains(one.Action, "kms:Decrypt")] == [{
      "ForAnyValue:StringEquals" = { "kms:ResourceAliases" = "alias/aws/s3" }
      StringEquals = {
        "kms:ViaService"                   = "s3.ap-northeast-2.amazonaws.com"
        "kms:EncryptionContext:aws:s3:arn" = ["arn:aws:s3:::state-123456789012", "arn:aws:s3:::state-123456789012/production.tfstate"]
      }
    }]
    error_message = "It decrypts the state alone, and through S3."
  }
  assert {
    condition = sort(flatten([for one in jsondecode(aws_iam_role_policy.plan[0].policy).Statement : one.Action if one.Effect == "Allow" && contains(flatten([one.Resource]), "*")])) == sort([
      "application-autoscaling:DescribeScalableTargets", "application-autoscaling:DescribeScalingPolicies",
      "ec2:DescribeAddresses", "ec2:DescribeAddressesAttribute", "ec2:DescribeFlowLogs", "ec2:DescribeInternetGateways",
      "ec2:DescribeNatGateways", "ec2:DescribeNetworkAcls", "ec2:DescribeNetworkInterfaces", "ec2:DescribePrefixLists",
      "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroupRules", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets",
      "ec2:DescribeVpcEndpoints", "ec2:DescribeVpcs",
      "ecs:DescribeTaskDefinition",
      "elasticloadbalancing:DescribeCapacityReservation", "elasticloadbalancing:DescribeListenerAttributes",
      "elasticloadbalancing:DescribeListeners", "elasticloadbalancing:DescribeLoadBalancerAttributes",
      "elasticloadbalancing:DescribeLoadBalancers", "elasticloadbalancing:DescribeTags",
      "elasticloadbalancing:DescribeTargetGroupAttributes", "elasticloadbalancing:DescribeTargetGroups",
      "kms:ListAliases",
      "logs:DescribeLogGroups", "logs:DescribeQueryDefinitions",
      "servicediscovery:ListTagsForResource",
      "sns:GetSubscriptionAttributes",
    ])
    error_message = "Only actions that know no narrower resource may be allowed on all."
  }
  assert {
    condition     = length(aws_iam_role_policy.plan[0].policy) < 10240
    error_message = "IAM takes 10,240 characters of inline policies for a role."
  }
}

run "no_repository_no_role_of_a_workflow" {
  command = plan
  module {
    source = "./modules/iam"
  }
  variables {
    name                 = "test"
    region               = "ap-northeast-2"
    account_id           = "123456789012"
    kms_key_arn          = "arn:aws:kms:ap-northeast-2:123456789012:key/mocked"
    repository_arn       = "arn:aws:ecr:ap-northeast-2:123456789012:repository/mocked"
    file_system_arn      = "arn:aws:elasticfilesystem:ap-northeast-2:123456789012:file-system/fs-01234567"
    access_point_arn     = "arn:aws:elasticfilesystem:ap-northeast-2:123456789012:access-point/fsap-0123456789abcdef0"
    store                = null
    topic_arn            = "arn:aws:sns:ap-northeast-2:123456789012:mocked"
    table_arns           = []
    plain_secret_arns    = ["arn:aws:secretsmanager:ap-northeast-2:123456789012:secret:plain"]
    keyed_secret_arns    = ["arn:aws:secretsmanager:ap-northeast-2:123456789012:secret:keyed"]
    cluster_name         = "mocked"
    log_group_arn_prefix = "arn:aws:logs:ap-northeast-2:123456789012:log-group:/ecs/test"
    enable_exec          = false
    github_repository    = ""
    github_environment   = "production"
    github_plans         = true
    broker_name          = "mocked"
    state                = { bucket = "state-123456789012", key = "production.tfstate" }
  }
  assert {
    condition     = length(aws_iam_role.plan) == 0 && length(aws_iam_role.deploy) == 0 && length(aws_iam_openid_connect_provider.github) == 0
    error_message = "Without a repository nobody at GitHub is trusted."
  }
}

run "store" {
  command = apply
  module {
    source = "./modules/store"
  }
  variables {
    name            = "test"
    account_id      = "123456789012"
    prefix          = "production"
    kms_key_arn     = "arn:aws:kms:ap-northeast-2:123456789012:key/mocked"
    noncurrent_days = 7
    force_destroy   = false
  }
  assert {
    condition     = aws_s3_bucket_public_access_block.this.block_public_acls && aws_s3_bucket_public_access_block.this.block_public_policy && aws_s3_bucket_public_access_block.this.ignore_public_acls && aws_s3_bucket_public_access_block.this.restrict_public_buckets && aws_s3_bucket_ownership_controls.this.rule[0].object_ownership == "BucketOwnerEnforced"
    error_message = "Expected a bucket that nothing can make public."
  }
  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms" && one(one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default).kms_master_key_id == var.kms_key_arn
    error_message = "Expected encryption by our key."
  }
  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled" && aws_s3_bucket_lifecycle_configuration.this.rule[0].noncurrent_version_expiration[0].noncurrent_days == 7
    error_message = "What was replaced is kept, and not for ever."
  }
  assert {
    condition     = alltrue([for one in output.policy.Statement : one.Effect == "Deny" && one.Principal == "*"]) && contains([for one in output.policy.Statement : lookup(lookup(one.Condition, "Bool", {}), "aws:SecureTransport", "")], "false")
    error_message = "The bucket's policy only forbids, and forbids what is not TLS."
  }
  assert {
    condition     = output.url == "s3://test-store-123456789012/production"
    error_message = "Expected the URL that TRADING_ASSETS_STORE_URL wants."
  }
}

run "in_front_of_the_ui" {
  command = apply
  module {
    source = "./modules/alb"
  }
  variables {
    name              = "test"
    vpc_id            = "vpc-1"
    account_id        = "123456789012"
    subnet_ids        = ["subnet-1", "subnet-2"]
    security_group_id = "sg-1"
    certificate_arn   = "arn:aws:acm:ap-northeast-2:123456789012:certificate/00000000-0000-0000-0000-000000000000"
    oidc = {
      issuer                 = "https://login.example.com"
      authorization_endpoint = "https://login.example.com/authorize"
      token_endpoint         = "https://login.example.com/token"
      user_info_endpoint     = "https://login.example.com/userinfo"
      client_id              = "desk"
    }
    oidc_client_secret  = "not-a-secret"
    deletion_protection = true
  }
  override_resource {
    target = aws_lb.this
    values = { arn = "arn:aws:elasticloadbalancing:ap-northeast-2:123456789012:loadbalancer/app/mocked/0123456789abcdef" }
  }
  override_resource {
    target = aws_lb_target_group.web
    values = { arn = "arn:aws:elasticloadbalancing:ap-northeast-2:123456789012:targetgroup/mocked/0123456789abcdef" }
  }
  assert {
    condition     = aws_lb_listener.https.protocol == "HTTPS" && aws_lb_listener.https.certificate_arn == var.certificate_arn && startswith(aws_lb_listener.https.ssl_policy, "ELBSecurityPolicy-TLS13")
    error_message = "Expected TLS 1.2 or newer with the certificate that was given."
  }
  assert {
    condition     = [for one in aws_lb_listener.https.default_action : one.type] == ["authenticate-oidc", "forward"] && aws_lb_listener.https.default_action[0].authenticate_oidc[0].on_unauthenticated_request == "authenticate"
    error_message = "People log in before anything is passed on."
  }
  assert {
    condition     = aws_lb_listener.http.default_action[0].type == "redirect" && aws_lb_listener.http.default_action[0].redirect[0].protocol == "HTTPS"
    error_message = "Without TLS people are sent on, and nothing is answered."
  }
}

run "tables" {
  command = plan
  module {
    source = "./modules/dynamodb"
  }
  variables {
    prefix      = "crypto-backtest-"
    kms_key_arn = "arn:aws:kms:ap-northeast-2:123456789012:key/mocked"
  }
  assert {
    condition     = alltrue([for one in aws_dynamodb_table.this : one.server_side_encryption[0].enabled && one.billing_mode == "PAY_PER_REQUEST"])
    error_message = "Expected encrypted tables, billed on demand."
  }
}

run "who_speaks_to_whom" {
  command = apply
  module {
    source = "./modules/security_groups"
  }
  variables {
    name          = "test"
    vpc_id        = "vpc-1"
    allowed_cidrs = ["10.0.0.0/16"]
    with_balancer = true
  }
  assert {
    condition     = length([for one in aws_vpc_security_group_ingress_rule.inside : one if one.cidr_ipv4 != null]) == 0
    error_message = "Inside, groups are named, not addresses."
  }
  assert {
    condition     = alltrue([for one in aws_vpc_security_group_ingress_rule.people : one.security_group_id == aws_security_group.this["balancer"].id])
    error_message = "Only the balancer is reached by address."
  }
}
