# Alarms of what AWS sees. What the program knows of itself (books, sessions, selections, errors of the exchange's API)
# is told by `serve`, over the same topic: docs/howto/observe.md.
locals {
  services = var.services
  ecs_alarms = merge([
    for role, count in local.services : {
      "${role}-cpu"    = { namespace = "AWS/ECS", metric = "CPUUtilization", role = role, over = 80, statistic = "Average", compare = "GreaterThanThreshold", missing = "notBreaching", periods = 3 }
      "${role}-memory" = { namespace = "AWS/ECS", metric = "MemoryUtilization", role = role, over = 85, statistic = "Average", compare = "GreaterThanThreshold", missing = "notBreaching", periods = 2 }
      # Nothing says no better than silence: no metric, no task.
      "${role}-gone" = { namespace = "ECS/ContainerInsights", metric = "RunningTaskCount", role = role, over = count, statistic = "Minimum", compare = "LessThanThreshold", missing = "breaching", periods = 5 }
    }
  ]...)

  others = merge(
    {
      "database-cpu"     = { namespace = "AWS/RDS", metric = "CPUUtilization", dimensions = { DBInstanceIdentifier = var.database_id }, over = 80, statistic = "Average", compare = "GreaterThanThreshold", period = 300, periods = 2 }
      "database-storage" = { namespace = "AWS/RDS", metric = "FreeStorageSpace", dimensions = { DBInstanceIdentifier = var.database_id }, over = 2147483648, statistic = "Minimum", compare = "LessThanThreshold", period = 300, periods = 1 }
      "database-memory"  = { namespace = "AWS/RDS", metric = "FreeableMemory", dimensions = { DBInstanceIdentifier = var.database_id }, over = 268435456, statistic = "Average", compare = "LessThanThreshold", period = 300, periods = 2 }
    },
    !var.with_balancer ? {} : {
      "balancer-slow"      = { namespace = "AWS/ApplicationELB", metric = "TargetResponseTime", dimensions = { LoadBalancer = var.balancer_suffix }, over = 2, statistic = "Average", compare = "GreaterThanThreshold", period = 300, periods = 2 }
      "balancer-5xx"       = { namespace = "AWS/ApplicationELB", metric = "HTTPCode_Target_5XX_Count", dimensions = { LoadBalancer = var.balancer_suffix }, over = 10, statistic = "Sum", compare = "GreaterThanThreshold", period = 300, periods = 1 }
      "balancer-unhealthy" = { namespace = "AWS/ApplicationELB", metric = "UnHealthyHostCount", dimensions = { LoadBalancer = var.balancer_suffix, TargetGroup = var.target_suffix }, over = 0, statistic = "Maximum", compare = "GreaterThanThreshold", period = 60, periods = 3 }
    },
    var.broker_name == null ? {} : {
      "broker-queue"  = { namespace = "AWS/AmazonMQ", metric = "MessageCount", dimensions = { Broker = var.broker_name }, over = 100, statistic = "Maximum", compare = "GreaterThanThreshold", period = 300, periods = 2 }
      "broker-cpu"    = { namespace = "AWS/AmazonMQ", metric = "SystemCpuUtilization", dimensions = { Broker = var.broker_name }, over = 80, statistic = "Average", compare = "GreaterThanThreshold", period = 300, periods = 2 }
      "broker-memory" = { namespace = "AWS/AmazonMQ", metric = "RabbitMQMemUsed", dimensions = { Broker = var.broker_name }, over = 400000000, statistic = "Maximum", compare = "GreaterThanThreshold", period = 300, periods = 2 }
    },
    {
      for name in var.table_names : "${name}-throttled" => { namespace = "AWS/DynamoDB", metric = "WriteThrottleEvents", dimensions = { TableName = name }, over = 0, statistic = "Sum", compare = "GreaterThanThreshold", period = 300, periods = 1 }
    },
  )

  queries = {
    signals   = "signal_found"
    orders    = "order_"
    positions = "trade_executed|position_closed"
  }
}

resource "aws_cloudwatch_metric_alarm" "service" {
  for_each            = local.ecs_alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.role}: ${each.value.metric} ${each.value.compare} ${each.value.over}"
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = { ClusterName = var.cluster_name, ServiceName = each.value.role }
  statistic           = each.value.statistic
  comparison_operator = each.value.compare
  threshold           = each.value.over
  period              = each.value.namespace == "AWS/ECS" ? 300 : 60
  evaluation_periods  = each.value.periods
  treat_missing_data  = each.value.missing
  alarm_actions       = [var.topic_arn]
  ok_actions          = [var.topic_arn]
}

resource "aws_cloudwatch_metric_alarm" "other" {
  for_each            = local.others
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.metric} ${each.value.compare} ${each.value.over}"
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  comparison_operator = each.value.compare
  threshold           = each.value.over
  period              = each.value.period
  evaluation_periods  = each.value.periods
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.topic_arn]
  ok_actions          = [var.topic_arn]
}

# Lines of the log with the level ERROR or CRITICAL, of all services together.
resource "aws_cloudwatch_log_metric_filter" "errors" {
  for_each       = var.log_groups
  name           = "${var.name}-${each.key}-errors"
  log_group_name = each.value
  pattern        = "{ ($.level = \"ERROR\") || ($.level = \"CRITICAL\") }"
  metric_transformation {
    namespace     = "TradingAssets"
    name          = "${var.name}-errors"
    value         = "1"
    default_value = "0"
  }
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${var.name}-application-errors"
  alarm_description   = "More than 10 errors in the log in 5 minutes; a release that sets it off is taken back"
  namespace           = "TradingAssets"
  metric_name         = "${var.name}-errors"
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 10
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.topic_arn]
  ok_actions          = [var.topic_arn]
}

resource "aws_cloudwatch_query_definition" "this" {
  for_each        = local.queries
  name            = "${var.name}/${each.key}"
  log_group_names = values(var.log_groups)
  query_string    = <<-QUERY
    fields @timestamp, service, event, symbol, side, qty, price, pnl, reason, trace_id
    | filter event like /${each.value}/
    | sort @timestamp desc
    | limit 100
  QUERY
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name
  dashboard_body = jsonencode({
    widgets = [
      {
        type = "metric", x = 0, y = 0, width = 12, height = 6
        properties = {
          title = "CPU and memory of the services, percent", region = var.region, view = "timeSeries", period = 300
          metrics = concat([for role, _ in local.services : [
            ["AWS/ECS", "CPUUtilization", "ClusterName", var.cluster_name, "ServiceName", role],
            ["AWS/ECS", "MemoryUtilization", "ClusterName", var.cluster_name, "ServiceName", role],
          ]]...)
        }
      },
      {
        type = "metric", x = 12, y = 0, width = 12, height = 6
        properties = {
          title   = "Tasks that run", region = var.region, view = "timeSeries", period = 60
          metrics = [for role, _ in local.services : ["ECS/ContainerInsights", "RunningTaskCount", "ClusterName", var.cluster_name, "ServiceName", role]]
        }
      },
      {
        type = "metric", x = 0, y = 6, width = 12, height = 6
        properties = {
          title   = "Database", region = var.region, view = "timeSeries", period = 300
          metrics = [for metric in ["CPUUtilization", "DatabaseConnections", "FreeableMemory", "FreeStorageSpace"] : ["AWS/RDS", metric, "DBInstanceIdentifier", var.database_id]]
        }
      },
      {
        type = "metric", x = 12, y = 6, width = 12, height = 6
        properties = {
          title = "The UI, and what waits at the broker", region = var.region, view = "timeSeries", period = 300
          metrics = concat(
            !var.with_balancer ? [] : [for metric in ["RequestCount", "TargetResponseTime", "HTTPCode_Target_5XX_Count"] : ["AWS/ApplicationELB", metric, "LoadBalancer", var.balancer_suffix]],
            var.broker_name == null ? [] : [["AWS/AmazonMQ", "MessageCount", "Broker", var.broker_name]],
            [["TradingAssets", "${var.name}-errors"]],
          )
        }
      },
      {
        type = "log", x = 0, y = 12, width = 24, height = 8
        properties = {
          title = "Signals, orders, positions", region = var.region, view = "table"
          query = "${join(" | ", [for one in values(var.log_groups) : "SOURCE '${one}'"])} | fields @timestamp, event, symbol, side, qty, price, pnl, reason | filter event like /signal_|order_|trade_|position_/ | sort @timestamp desc | limit 50"
        }
      },
    ]
  })
}
