# Two execution roles, which read secrets and pull the image: one never sees a key of an account. A task role for each
# kind of task: what the program itself may ask of AWS. Where `Resource = "*"` stands, the action knows no narrower one.
locals {
  ecs_assumes = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
    }]
  })
  execution = {
    plain = var.plain_secret_arns
    keyed = distinct(concat(var.plain_secret_arns, var.keyed_secret_arns))
  }
  execution_policies = {
    for kind, secrets in local.execution : kind => {
      Version = "2012-10-17"
      Statement = [
        { Sid = "LogInToTheRegistry", Effect = "Allow", Action = ["ecr:GetAuthorizationToken"], Resource = "*" },
        { Sid = "Pull", Effect = "Allow", Action = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], Resource = var.repository_arn },
        { Sid = "Log", Effect = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"], Resource = "${var.log_group_arn_prefix}/*:*" },
        { Sid = "Secrets", Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = secrets },
        { Sid = "Key", Effect = "Allow", Action = ["kms:Decrypt"], Resource = var.kms_key_arn },
      ]
    }
  }

  files = [{
    Sid       = "Files"
    Effect    = "Allow"
    Action    = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]
    Resource  = var.file_system_arn
    Condition = { StringEquals = { "elasticfilesystem:AccessPointArn" = var.access_point_arn } }
  }]
  messages = [
    { Sid = "Tell", Effect = "Allow", Action = ["sns:Publish"], Resource = var.topic_arn },
    { Sid = "TellSealed", Effect = "Allow", Action = ["kms:GenerateDataKey", "kms:Decrypt"], Resource = var.kms_key_arn },
  ]
  mirror = length(var.table_arns) == 0 ? [] : [
    { Sid = "Mirror", Effect = "Allow", Action = ["dynamodb:BatchWriteItem", "dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:PutItem"], Resource = var.table_arns },
  ]
  # What research writes: candles, sealed backtests, reports. Trading has its candles in the home.
  store_read = flatten([for store in var.store[*] : [
    {
      # Without this right a read of what is absent is answered 403, not 404; such a read names no prefix.
      Sid       = "StoreList"
      Effect    = "Allow"
      Action    = ["s3:ListBucket"]
      Resource  = store.arn
      Condition = { StringLikeIfExists = { "s3:prefix" = ["${store.prefix}/*"] } }
    },
    { Sid = "StoreRead", Effect = "Allow", Action = ["s3:GetObject"], Resource = "${store.arn}/${store.prefix}/*" },
    {
      Sid       = "StoreKey"
      Effect    = "Allow"
      Action    = ["kms:Decrypt"]
      Resource  = var.kms_key_arn
      Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
    },
  ]])
  store_write = concat(local.store_read, flatten([for store in var.store[*] : [
    { Sid = "StoreWrite", Effect = "Allow", Action = ["s3:PutObject", "s3:DeleteObject"], Resource = "${store.arn}/${store.prefix}/*" },
    {
      Sid       = "StoreSeal"
      Effect    = "Allow"
      Action    = ["kms:GenerateDataKey"]
      Resource  = var.kms_key_arn
      Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
    },
  ]]))
  exec = var.enable_exec ? [
    { Sid = "Exec", Effect = "Allow", Action = ["ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"], Resource = "*" },
  ] : []
  task_statements = {
    web      = concat(local.files, local.exec)
    code     = concat(local.files, local.exec)
    daemon   = concat(local.files, local.exec)
    research = concat(local.files, local.store_write, local.exec)
    trading  = concat(local.files, local.messages, local.exec)
    serve    = concat(local.files, local.messages, local.mirror, local.store_read, local.exec)
    migrate  = concat(local.files, local.exec)
    all      = concat(local.files, local.messages, local.mirror, local.store_write, local.exec)
  }
  task_policies = { for role, statements in local.task_statements : role => { Version = "2012-10-17", Statement = statements } }

  deploy_policy = {
    Version = "2012-10-17"
    Statement = [
      { Sid = "LogInToTheRegistry", Effect = "Allow", Action = ["ecr:GetAuthorizationToken"], Resource = "*" },
      {
        Sid    = "Push"
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload", "ecr:DescribeImageScanFindings",
          "ecr:DescribeImages", "ecr:GetDownloadUrlForLayer", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart",
        ]
        Resource = var.repository_arn
      },
      { Sid = "Definitions", Effect = "Allow", Action = ["ecs:DescribeTaskDefinition", "ecs:RegisterTaskDefinition"], Resource = "*" },
      {
        Sid      = "Services"
        Effect   = "Allow"
        Action   = ["ecs:DescribeServices", "ecs:UpdateService"]
        Resource = "arn:aws:ecs:${var.region}:${var.account_id}:service/${var.cluster_name}/*"
      },
      {
        Sid       = "Migrate"
        Effect    = "Allow"
        Action    = ["ecs:RunTask"]
        Resource  = "arn:aws:ecs:${var.region}:${var.account_id}:task-definition/${var.name}-migrate:*"
        Condition = { ArnEquals = { "ecs:cluster" = "arn:aws:ecs:${var.region}:${var.account_id}:cluster/${var.cluster_name}" } }
      },
      { Sid = "Tasks", Effect = "Allow", Action = ["ecs:DescribeTasks"], Resource = "arn:aws:ecs:${var.region}:${var.account_id}:task/${var.cluster_name}/*" },
      {
        Sid       = "Roles"
        Effect    = "Allow"
        Action    = ["iam:PassRole"]
        Resource  = concat([for one in aws_iam_role.execution : one.arn], [for one in aws_iam_role.task : one.arn])
        Condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }
      },
    ]
  }

  # What has no narrower resource. tests/rules.tftest.hcl lets these pass, and nothing else; of the role in plan.tf,
  # tests/modules.tftest.hcl has the list.
  actions_on_everything = flatten([
    for policy in concat(values(local.execution_policies), values(local.task_policies), [local.deploy_policy]) : [
      for statement in policy.Statement : statement.Action if contains(flatten([statement.Resource]), "*")
    ]
  ])
  all_actions = flatten([
    for policy in concat(values(local.execution_policies), values(local.task_policies), [local.deploy_policy, local.plan_policy]) : [
      for statement in policy.Statement : statement.Action if statement.Effect == "Allow"
    ]
  ])
}

resource "aws_iam_role" "execution" {
  for_each           = local.execution
  name               = "${var.name}-execution-${each.key}"
  assume_role_policy = local.ecs_assumes
}

resource "aws_iam_role_policy" "execution" {
  for_each = local.execution
  name     = "start-tasks"
  role     = aws_iam_role.execution[each.key].id
  policy   = jsonencode(local.execution_policies[each.key])
}

resource "aws_iam_role" "task" {
  for_each           = local.task_statements
  name               = "${var.name}-task-${each.key}"
  assume_role_policy = local.ecs_assumes
}

resource "aws_iam_role_policy" "task" {
  for_each = local.task_statements
  name     = "work"
  role     = aws_iam_role.task[each.key].id
  policy   = jsonencode(local.task_policies[each.key])
}

# Workflows of one repository, in one of its environments, or of its pull requests (plan.tf). No key of AWS is kept at
# GitHub.
resource "aws_iam_openid_connect_provider" "github" {
  count          = var.github_repository == "" ? 0 : 1
  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_role" "deploy" {
  count = var.github_repository == "" ? 0 : 1
  name  = "${var.name}-deploy"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = aws_iam_openid_connect_provider.github[0].arn }
      Condition = {
        StringEquals = {
          "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
          "token.actions.githubusercontent.com:sub" = "repo:${var.github_repository}:environment:${var.github_environment}"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "deploy" {
  count  = var.github_repository == "" ? 0 : 1
  name   = "release"
  role   = aws_iam_role.deploy[0].id
  policy = jsonencode(local.deploy_policy)
}
