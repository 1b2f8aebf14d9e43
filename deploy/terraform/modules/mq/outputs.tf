# amqps://HOST:5671
output "host" { value = split(":", split("//", aws_mq_broker.this.instances[0].endpoints[0])[1])[0] }
output "user" { value = "trading_assets" }
