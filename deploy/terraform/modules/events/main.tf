# A task that ended by itself is told. The hourly and minutely rules of the sources are Dagster's schedules here.
resource "aws_cloudwatch_event_rule" "stopped" {
  name        = "${var.name}-task-stopped"
  description = "A task of the cluster has stopped with an exit code, or could not start"
  event_pattern = jsonencode({
    source        = ["aws.ecs"]
    "detail-type" = ["ECS Task State Change"]
    detail = {
      clusterArn = [var.cluster_arn]
      lastStatus = ["STOPPED"]
      stopCode   = ["EssentialContainerExited", "TaskFailedToStart"]
    }
  })
}

resource "aws_cloudwatch_event_target" "stopped" {
  rule = aws_cloudwatch_event_rule.stopped.name
  arn  = var.topic_arn
  input_transformer {
    input_paths    = { group = "$.detail.group", reason = "$.detail.stoppedReason", task = "$.detail.taskArn" }
    input_template = "\"<group> has stopped: <reason> (<task>)\""
  }
}
