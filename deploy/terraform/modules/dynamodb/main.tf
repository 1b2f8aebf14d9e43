# Tables that other programs read: docs/mirror.md. The program makes the same ones by `trading-assets mirror create`.
locals {
  tables = {
    scan-results = {
      hash = "scan_id", range = "symbol", types = { scan_id = "S", symbol = "S" }, indexes = {}
    }
    backtest-results = {
      hash    = "symbol", range = "backtest_id", types = { symbol = "S", backtest_id = "S", timeframe = "S" }
      indexes = { TimeframeIndex = { hash = "timeframe", range = null } }
    }
    trading-positions = {
      hash  = "symbol", range = "signal_timestamp"
      types = { symbol = "S", signal_timestamp = "N", status = "S", confidence = "N" }
      indexes = {
        StatusIndex     = { hash = "status", range = "signal_timestamp" }
        ConfidenceIndex = { hash = "status", range = "confidence" }
      }
    }
  }
}

resource "aws_dynamodb_table" "this" {
  for_each     = local.tables
  name         = "${var.prefix}${each.key}"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = each.value.hash
  range_key    = each.value.range

  dynamic "attribute" {
    for_each = each.value.types
    content {
      name = attribute.key
      type = attribute.value
    }
  }
  dynamic "global_secondary_index" {
    for_each = each.value.indexes
    content {
      name            = global_secondary_index.key
      hash_key        = global_secondary_index.value.hash
      range_key       = global_secondary_index.value.range
      projection_type = "ALL"
    }
  }
  ttl {
    attribute_name = "ttl"
    enabled        = true
  }
  server_side_encryption {
    enabled     = true
    kms_key_arn = var.kms_key_arn
  }
}
