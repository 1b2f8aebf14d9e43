# Fargate: a service for each role, or one task with all of them (variant dev). A release changes the image by a new
# revision of the task definition, so Terraform leaves the revision in force alone: deploy/scripts/update-services.sh.
locals {
  roles = var.one_task ? ["migrate"] : concat(keys(var.services), ["migrate"])

  ports = { web = 3000, code = 4000 }

  health = {
    for role in ["web", "code", "daemon", "research", "trading", "serve"] : role => {
      command     = ["CMD", "python3", "/opt/trading_assets/health.py", role]
      interval    = 60
      timeout     = 50
      retries     = 3
      startPeriod = 120
    }
  }

  extra = {
    serve = { TRADING_ASSETS_MONITOR_PORT = "9464", TRADING_ASSETS_DASHBOARD_PORT = "3001" }
  }

  # Containers as ECS wants them, by role. Read-only, not root, no capability; what may be written is /tmp and the home.
  containers = {
    for role in ["web", "code", "daemon", "research", "trading", "serve", "migrate"] : role => merge(
      {
        name                   = role
        image                  = var.image
        command                = [role]
        essential              = role != "migrate" || !var.one_task
        user                   = "10001:10001"
        readonlyRootFilesystem = true
        linuxParameters        = { capabilities = { drop = ["ALL"], add = [] } }
        stopTimeout            = var.one_task ? 60 : try(var.services[role].stop_s, 30)
        environment            = [for name, value in merge(var.environment, lookup(local.extra, role, {})) : { name = name, value = value }]
        secrets                = [for name, arn in lookup(var.secrets_of, role, {}) : { name = name, valueFrom = arn }]
        mountPoints = [
          { sourceVolume = "home", containerPath = "/var/lib/trading_assets", readOnly = false },
          { sourceVolume = "tmp", containerPath = "/tmp", readOnly = false },
        ]
        portMappings   = [for name, port in local.ports : { containerPort = port, hostPort = port, protocol = "tcp" } if name == role]
        systemControls = []
        volumesFrom    = []
        logConfiguration = {
          logDriver = "awslogs"
          options = {
            "awslogs-group"         = aws_cloudwatch_log_group.this[var.one_task ? "all" : role].name
            "awslogs-region"        = var.region
            "awslogs-stream-prefix" = role
          }
        }
      },
      contains(keys(local.health), role) ? { healthCheck = local.health[role] } : {},
    )
  }
  log_groups = var.one_task ? ["all", "migrate"] : local.roles

  # One task: each container has a /tmp of its own, and begins when the tables are there.
  all_in_one = [
    for role in ["migrate", "code", "daemon", "web", "serve"] : merge(local.containers[role], {
      environment = [for pair in local.containers[role].environment : pair]
      mountPoints = [
        { sourceVolume = "home", containerPath = "/var/lib/trading_assets", readOnly = false },
        { sourceVolume = "tmp-${role}", containerPath = "/tmp", readOnly = false },
      ]
      dependsOn = role == "migrate" ? [] : concat(
        [{ containerName = "migrate", condition = "SUCCESS" }],
        contains(["daemon", "web"], role) ? [{ containerName = "code", condition = "HEALTHY" }] : [],
      )
    })
  ]
}

resource "aws_cloudwatch_log_group" "this" {
  for_each          = toset(local.log_groups)
  name              = "/ecs/${var.name}/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_ecs_cluster" "this" {
  name = var.cluster_name
  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_ecs_cluster_capacity_providers" "this" {
  cluster_name       = aws_ecs_cluster.this.name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]
}

resource "aws_service_discovery_private_dns_namespace" "this" {
  name = "${var.name}.internal"
  vpc  = var.vpc_id
}

resource "aws_service_discovery_service" "code" {
  name = "code"
  dns_config {
    namespace_id = aws_service_discovery_private_dns_namespace.this.id
    dns_records {
      type = "A"
      ttl  = 10
    }
  }
}

resource "aws_ecs_task_definition" "role" {
  for_each                 = toset(local.roles)
  family                   = "${var.name}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = try(var.services[each.key].cpu, 512)
  memory                   = try(var.services[each.key].memory, 1024)
  execution_role_arn       = var.execution_role_arns[try(var.services[each.key].keys, false) ? "keyed" : "plain"]
  task_role_arn            = var.task_role_arns[each.key]
  container_definitions    = jsonencode([local.containers[each.key]])

  volume {
    name = "tmp"
  }
  volume {
    name = "home"
    efs_volume_configuration {
      file_system_id     = var.file_system_id
      transit_encryption = "ENABLED"
      authorization_config {
        access_point_id = var.access_point_id
        iam             = "ENABLED"
      }
    }
  }
}

resource "aws_ecs_task_definition" "all" {
  count                    = var.one_task ? 1 : 0
  family                   = "${var.name}-all"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 1024
  memory                   = 4096
  execution_role_arn       = var.execution_role_arns["keyed"]
  task_role_arn            = var.task_role_arns["all"]
  container_definitions    = jsonencode(local.all_in_one)

  dynamic "volume" {
    for_each = toset([for one in local.all_in_one : one.name])
    content {
      name = "tmp-${volume.key}"
    }
  }
  volume {
    name = "home"
    efs_volume_configuration {
      file_system_id     = var.file_system_id
      transit_encryption = "ENABLED"
      authorization_config {
        access_point_id = var.access_point_id
        iam             = "ENABLED"
      }
    }
  }
}

resource "aws_ecs_service" "all" {
  count                              = var.one_task ? 1 : 0
  name                               = "all"
  cluster                            = aws_ecs_cluster.this.id
  task_definition                    = aws_ecs_task_definition.all[0].arn
  desired_count                      = var.services_enabled ? 1 : 0
  launch_type                        = "FARGATE"
  platform_version                   = "LATEST"
  deployment_minimum_healthy_percent = 0
  deployment_maximum_percent         = 100
  enable_execute_command             = var.enable_exec
  network_configuration {
    subnets          = var.subnet_ids
    assign_public_ip = var.assign_public_ip
    security_groups  = [var.security_group_ids["worker"]]
  }
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }
  lifecycle {
    ignore_changes = [task_definition]
  }
}

resource "aws_ecs_service" "role" {
  for_each                           = var.services
  name                               = each.key
  cluster                            = aws_ecs_cluster.this.id
  task_definition                    = aws_ecs_task_definition.role[each.key].arn
  desired_count                      = var.services_enabled ? each.value.count : 0
  platform_version                   = "LATEST"
  deployment_minimum_healthy_percent = each.value.min_percent
  deployment_maximum_percent         = each.value.max_percent
  enable_execute_command             = var.enable_exec
  health_check_grace_period_seconds  = each.key == "web" ? 180 : null

  capacity_provider_strategy {
    capacity_provider = each.value.spot ? "FARGATE_SPOT" : "FARGATE"
    weight            = 1
  }
  network_configuration {
    subnets          = var.subnet_ids
    assign_public_ip = var.assign_public_ip
    security_groups  = [var.security_group_ids[contains(["web", "code", "daemon"], each.key) ? each.key : "worker"]]
  }
  # A release that does not come up, or sets off an alarm of its own, is taken back by ECS.
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }
  alarms {
    enable      = true
    rollback    = true
    alarm_names = ["${var.name}-application-errors"]
  }
  dynamic "load_balancer" {
    for_each = each.key == "web" ? [var.target_group_arn] : []
    content {
      target_group_arn = load_balancer.value
      container_name   = "web"
      container_port   = 3000
    }
  }
  dynamic "service_registries" {
    for_each = each.key == "code" ? [aws_service_discovery_service.code.arn] : []
    content {
      registry_arn = service_registries.value
    }
  }
  lifecycle {
    # The revision in force is a release's; the number of research workers is the scaler's.
    ignore_changes = [task_definition, desired_count]
  }
  depends_on = [aws_ecs_cluster_capacity_providers.this]
}

# Research alone grows and shrinks: by CPU, and by what waits at the broker. Never the daemon, never trading.
resource "aws_appautoscaling_target" "research" {
  count              = var.enable_autoscaling ? 1 : 0
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${var.cluster_name}/research"
  min_capacity       = var.services_enabled ? var.research_min : 0
  max_capacity       = var.services_enabled ? var.research_max : 0
  depends_on         = [aws_ecs_service.role]
}

resource "aws_appautoscaling_policy" "cpu" {
  count              = var.enable_autoscaling ? 1 : 0
  name               = "${var.name}-research-cpu"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.research[0].service_namespace
  scalable_dimension = aws_appautoscaling_target.research[0].scalable_dimension
  resource_id        = aws_appautoscaling_target.research[0].resource_id
  target_tracking_scaling_policy_configuration {
    target_value       = var.target_cpu
    scale_in_cooldown  = 900
    scale_out_cooldown = 120
    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
  }
}

resource "aws_appautoscaling_policy" "backlog" {
  count              = var.enable_autoscaling ? 1 : 0
  name               = "${var.name}-research-backlog"
  policy_type        = "StepScaling"
  service_namespace  = aws_appautoscaling_target.research[0].service_namespace
  scalable_dimension = aws_appautoscaling_target.research[0].scalable_dimension
  resource_id        = aws_appautoscaling_target.research[0].resource_id
  step_scaling_policy_configuration {
    adjustment_type         = "ChangeInCapacity"
    cooldown                = 120
    metric_aggregation_type = "Average"
    step_adjustment {
      metric_interval_lower_bound = 0
      metric_interval_upper_bound = 8
      scaling_adjustment          = 1
    }
    step_adjustment {
      metric_interval_lower_bound = 8
      scaling_adjustment          = 3
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "backlog" {
  count               = var.enable_autoscaling ? 1 : 0
  alarm_name          = "${var.name}-research-waits"
  alarm_description   = "Runs of research wait for a process: a worker is added"
  namespace           = "AWS/AmazonMQ"
  metric_name         = "MessageReadyCount"
  dimensions          = { Broker = var.broker_name, VirtualHost = "/", Queue = "trading_assets.research" }
  statistic           = "Average"
  period              = 60
  evaluation_periods  = 2
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_appautoscaling_policy.backlog[0].arn]
}
