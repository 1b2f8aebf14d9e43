# The role of `terraform plan` in the workflows of pull requests: it reads what the modules have made and the state, and
# changes nothing. It needs no right on a lock, because the workflow plans with -lock=false.
#
# The state has two passwords in it, the broker's and the log-in's. Whoever may read the state has them.
locals {
  plan_count = var.github_repository != "" && var.github_plans ? 1 : 0
  here       = "${var.region}:${var.account_id}"
  state_arn  = "arn:aws:s3:::${var.state.bucket}"

  plan_trust = local.plan_count == 0 ? null : {
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = aws_iam_openid_connect_provider.github[0].arn }
      Condition = {
        StringEquals = {
          "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
          "token.actions.githubusercontent.com:sub" = "repo:${var.github_repository}:pull_request"
        }
      }
    }]
  }

  plan_state = [
    {
      # `terraform init` lists workspaces below env:/. A read of a state that is absent names no prefix.
      Sid       = "StateList"
      Effect    = "Allow"
      Action    = ["s3:ListBucket"]
      Resource  = local.state_arn
      Condition = { StringEqualsIfExists = { "s3:prefix" = ["env:/", var.state.key] } }
    },
    { Sid = "StateRead", Effect = "Allow", Action = ["s3:GetObject"], Resource = "${local.state_arn}/${var.state.key}" },
    {
      # bootstrap/ encrypts with S3's own key. Its ID is AWS' choice, so the key is named by its alias.
      Sid      = "StateKey"
      Effect   = "Allow"
      Action   = ["kms:Decrypt"]
      Resource = "arn:aws:kms:${local.here}:key/*"
      Condition = {
        "ForAnyValue:StringEquals" = { "kms:ResourceAliases" = "alias/aws/s3" }
        StringEquals = {
          "kms:ViaService"                   = "s3.${var.region}.amazonaws.com"
          "kms:EncryptionContext:aws:s3:arn" = [local.state_arn, "${local.state_arn}/${var.state.key}"]
        }
      }
    },
  ]

  # One statement for each service, with the resources of this installation. Where AWS chooses the ID, it is `*`.
  plan_services = concat(
    [
      { Sid = "Alarms", Effect = "Allow", Action = ["cloudwatch:DescribeAlarms", "cloudwatch:ListTagsForResource"], Resource = "arn:aws:cloudwatch:${local.here}:alarm:*" },
      { Sid = "Dashboard", Effect = "Allow", Action = ["cloudwatch:GetDashboard"], Resource = "arn:aws:cloudwatch::${var.account_id}:dashboard/${var.name}" },
      { Sid = "Scaling", Effect = "Allow", Action = ["application-autoscaling:ListTagsForResource"], Resource = "arn:aws:application-autoscaling:${local.here}:scalable-target/*" },
      { Sid = "Network", Effect = "Allow", Action = ["ec2:DescribeVpcAttribute"], Resource = "arn:aws:ec2:${local.here}:vpc/*" },
      {
        Sid      = "Images"
        Effect   = "Allow"
        Action   = ["ecr:DescribeRepositories", "ecr:GetLifecyclePolicy", "ecr:ListTagsForResource"]
        Resource = var.repository_arn
      },
      {
        Sid    = "Tasks"
        Effect = "Allow"
        Action = ["ecs:DescribeClusters", "ecs:DescribeServices", "ecs:ListTagsForResource"]
        Resource = [
          "arn:aws:ecs:${local.here}:cluster/${var.cluster_name}", "arn:aws:ecs:${local.here}:service/${var.cluster_name}/*",
          "arn:aws:ecs:${local.here}:task-definition/${var.name}-*:*",
        ]
      },
      {
        Sid    = "Files"
        Effect = "Allow"
        Action = [
          "elasticfilesystem:DescribeAccessPoints", "elasticfilesystem:DescribeBackupPolicy", "elasticfilesystem:DescribeFileSystems",
          "elasticfilesystem:DescribeLifecycleConfiguration", "elasticfilesystem:DescribeMountTargetSecurityGroups",
          "elasticfilesystem:DescribeMountTargets", "elasticfilesystem:ListTagsForResource",
        ]
        Resource = [var.file_system_arn, var.access_point_arn]
      },
      { Sid = "Events", Effect = "Allow", Action = ["events:DescribeRule", "events:ListTagsForResource", "events:ListTargetsByRule"], Resource = "arn:aws:events:${local.here}:rule/${var.name}-*" },
      {
        Sid      = "Roles"
        Effect   = "Allow"
        Action   = ["iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies"]
        Resource = "arn:aws:iam::${var.account_id}:role/${var.name}-*"
      },
      { Sid = "Identities", Effect = "Allow", Action = ["iam:GetOpenIDConnectProvider"], Resource = "arn:aws:iam::${var.account_id}:oidc-provider/token.actions.githubusercontent.com" },
      { Sid = "Key", Effect = "Allow", Action = ["kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListResourceTags"], Resource = var.kms_key_arn },
      {
        Sid      = "Logs"
        Effect   = "Allow"
        Action   = ["logs:DescribeMetricFilters", "logs:ListTagsForResource"]
        Resource = ["${var.log_group_arn_prefix}/*", "arn:aws:logs:${local.here}:log-group:/vpc/${var.name}/*"]
      },
      { Sid = "Broker", Effect = "Allow", Action = ["mq:DescribeBroker", "mq:DescribeUser", "mq:ListTags"], Resource = "arn:aws:mq:${local.here}:broker:${var.broker_name}:*" },
      {
        # A database is asked for by its internal ID, which AWS answers only to a right on `db:*`.
        Sid    = "Database"
        Effect = "Allow"
        Action = ["rds:DescribeDBInstances", "rds:DescribeDBParameterGroups", "rds:DescribeDBParameters", "rds:DescribeDBSubnetGroups", "rds:ListTagsForResource"]
        Resource = [
          "arn:aws:rds:${local.here}:db:*", "arn:aws:rds:${local.here}:pg:${var.name}-*", "arn:aws:rds:${local.here}:subgrp:${var.name}",
        ]
      },
      {
        Sid    = "Buckets"
        Effect = "Allow"
        Action = [
          "s3:GetAccelerateConfiguration", "s3:GetBucketAcl", "s3:GetBucketCORS", "s3:GetBucketLocation", "s3:GetBucketLogging",
          "s3:GetBucketObjectLockConfiguration", "s3:GetBucketOwnershipControls", "s3:GetBucketPolicy", "s3:GetBucketPublicAccessBlock",
          "s3:GetBucketRequestPayment", "s3:GetBucketTagging", "s3:GetBucketVersioning", "s3:GetBucketWebsite",
          "s3:GetEncryptionConfiguration", "s3:GetLifecycleConfiguration", "s3:GetReplicationConfiguration", "s3:ListBucket",
        ]
        Resource = concat(["arn:aws:s3:::${var.name}-balancer-logs-${var.account_id}"], [for store in var.store[*] : store.arn])
      },
      {
        Sid      = "SecretsWithoutValues"
        Effect   = "Allow"
        Action   = ["secretsmanager:DescribeSecret", "secretsmanager:GetResourcePolicy"]
        Resource = var.keyed_secret_arns
      },
      {
        Sid      = "Names"
        Effect   = "Allow"
        Action   = ["servicediscovery:GetNamespace", "servicediscovery:GetService"]
        Resource = ["arn:aws:servicediscovery:${local.here}:namespace/*", "arn:aws:servicediscovery:${local.here}:service/*"]
      },
      { Sid = "Topic", Effect = "Allow", Action = ["sns:GetTopicAttributes", "sns:ListTagsForResource"], Resource = var.topic_arn },
    ],
    length(var.table_arns) == 0 ? [] : [
      {
        Sid      = "Tables"
        Effect   = "Allow"
        Action   = ["dynamodb:DescribeContinuousBackups", "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive", "dynamodb:ListTagsOfResource"]
        Resource = var.table_arns
      },
    ],
  )

  # These actions know no narrower resource. Each answers how a thing is set up, none what is in it.
  plan_everywhere = [{
    Sid    = "NoNarrowerResource"
    Effect = "Allow"
    Action = [
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
    ]
    Resource = "*"
  }]

  # Also if somebody attaches a wider policy later, such as ReadOnlyAccess.
  plan_never = [{
    Sid    = "NoValueOfASecret"
    Effect = "Deny"
    Action = [
      "secretsmanager:BatchGetSecretValue", "secretsmanager:GetSecretValue",
      "ssm:GetParameter", "ssm:GetParameterHistory", "ssm:GetParameters", "ssm:GetParametersByPath",
    ]
    Resource = "*"
  }]

  plan_policy = { Version = "2012-10-17", Statement = concat(local.plan_state, local.plan_services, local.plan_everywhere, local.plan_never) }
}

resource "aws_iam_role" "plan" {
  count              = local.plan_count
  name               = "${var.name}-plan"
  assume_role_policy = jsonencode(local.plan_trust)
}

resource "aws_iam_role_policy" "plan" {
  count  = local.plan_count
  name   = "read"
  role   = aws_iam_role.plan[0].id
  policy = jsonencode(local.plan_policy)
}
