# Who may speak to whom, and on which port. What is not here is refused: there is no group for all.
locals {
  groups = {
    balancer  = "In front of the UI"
    web       = "The web server"
    code      = "The code server"
    daemon    = "The daemon"
    worker    = "Workers, serve, and the task that migrates"
    database  = "PostgreSQL"
    broker    = "RabbitMQ"
    files     = "The shared folder"
    endpoints = "Interface endpoints of AWS"
  }
  tasks = ["web", "code", "daemon", "worker"]

  # "from>to:port": why.
  inside = merge(
    { for one in local.tasks : "${one}>database:5432" => "history and ledger" },
    { for one in local.tasks : "${one}>files:2049" => "candles and reports" },
    { for one in local.tasks : "${one}>endpoints:443" => "AWS without the internet" },
    # The web server launches runs and asks for the state of workers, so it has a way to the broker, too.
    { for one in local.tasks : "${one}>broker:5671" => "runs as messages" },
    { "web>code:4000" = "definitions", "daemon>code:4000" = "definitions and sensors" },
    var.with_balancer ? { "balancer>web:3000" = "the UI" } : {},
  )
  rules = {
    for key, why in local.inside : key => {
      from = split(">", key)[0]
      to   = split(":", split(">", key)[1])[0]
      port = tonumber(split(":", key)[1])
      why  = why
    }
  }
}

resource "aws_security_group" "this" {
  for_each    = local.groups
  name        = "${var.name}-${each.key}"
  description = each.value
  vpc_id      = var.vpc_id
  tags        = { Name = "${var.name}-${each.key}" }
}

resource "aws_vpc_security_group_ingress_rule" "inside" {
  for_each                     = local.rules
  security_group_id            = aws_security_group.this[each.value.to].id
  referenced_security_group_id = aws_security_group.this[each.value.from].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  description                  = "${each.value.from}: ${each.value.why}"
}

resource "aws_vpc_security_group_egress_rule" "inside" {
  for_each                     = local.rules
  security_group_id            = aws_security_group.this[each.value.from].id
  referenced_security_group_id = aws_security_group.this[each.value.to].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  description                  = "${each.value.to}: ${each.value.why}"
}

resource "aws_vpc_security_group_ingress_rule" "people" {
  for_each = var.with_balancer ? {
    for pair in setproduct(var.allowed_cidrs, [80, 443]) : "${pair[0]}:${pair[1]}" => { cidr = pair[0], port = pair[1] }
  } : {}
  security_group_id = aws_security_group.this["balancer"].id
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  description       = each.value.port == 80 ? "people, sent on to TLS" : "people, over TLS"
}

# Bybit, the services of AWS, messengers; of the balancer: the log-in's server.
resource "aws_vpc_security_group_egress_rule" "https" {
  for_each          = toset(concat(local.tasks, var.with_balancer ? ["balancer"] : []))
  security_group_id = aws_security_group.this[each.key].id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  description       = "HTTPS: the exchange, AWS, messengers, the log-in"
}
