resource "aws_mq_broker" "this" {
  broker_name                = var.name
  engine_type                = "RabbitMQ"
  engine_version             = "3.13"
  auto_minor_version_upgrade = true
  host_instance_type         = var.instance_type
  deployment_mode            = var.deployment_mode
  publicly_accessible        = false
  subnet_ids                 = var.subnet_ids
  security_groups            = [var.security_group_id]
  encryption_options {
    kms_key_id        = var.kms_key_arn
    use_aws_owned_key = false
  }
  logs {
    general = true
  }
  user {
    username = "trading_assets"
    password = var.password
  }
  maintenance_window_start_time {
    day_of_week = "MONDAY"
    time_of_day = "06:00"
    time_zone   = "UTC"
  }
}
