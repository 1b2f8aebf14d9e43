# Their values are put in by hand (docs/howto/deploy_aws.md). A value that Terraform puts in is in the state, and each plan
# reads it back, so whoever plans would need the right to read it.
locals {
  names = {
    bybit-api-key    = "Key of the account at Bybit"
    bybit-api-secret = "Secret of that key"
    ui-token         = "Opens Dagster's UI through the guard"
    dashboard-token  = "Opens the live page"
    monitor-token    = "Opens the metrics"
    telegram-token   = "Bot that takes commands"
    encryption-key   = "Master key of named accounts"
    broker-password  = "Of the broker's user"
  }
}

resource "aws_secretsmanager_secret" "this" {
  for_each                = local.names
  name                    = "${var.prefix}/${each.key}"
  description             = each.value
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = 7
}
