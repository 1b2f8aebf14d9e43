output "alarm_names" {
  value = concat(
    [for one in aws_cloudwatch_metric_alarm.service : one.alarm_name],
    [for one in aws_cloudwatch_metric_alarm.other : one.alarm_name],
    [aws_cloudwatch_metric_alarm.errors.alarm_name],
  )
}
