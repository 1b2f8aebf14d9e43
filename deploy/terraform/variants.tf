# What the variants differ in. docs/howto/deploy_aws.md has what each costs.
locals {
  is_dev = var.variant == "dev"
  is_ha  = var.variant == "ha"

  nats                = local.is_dev ? 0 : (coalesce(var.single_nat, !local.is_ha) ? 1 : 2)
  deletion_protection = coalesce(var.deletion_protection, !local.is_dev)
  exec                = coalesce(var.enable_exec, local.is_dev)

  database = {
    instance_class = local.is_dev ? "db.t4g.micro" : (local.is_ha ? "db.t4g.small" : "db.t3.micro")
    multi_az       = !local.is_dev
  }
  broker = {
    instance_type   = "mq.t3.micro"
    deployment_mode = "SINGLE_INSTANCE"
  }

  research_concurrency = 4
  research_min         = coalesce(var.research_min, 2)
  research_max         = var.enable_autoscaling ? var.research_max : local.research_min

  # Role: size of a task, how many, and how many of them may be there while a release replaces them, percent.
  services = local.is_dev ? {} : {
    web      = { cpu = 256, memory = 1024, count = local.is_ha ? 2 : 1, min_percent = 100, max_percent = 200, keys = false, stop_s = 30, spot = false }
    code     = { cpu = 512, memory = 2048, count = 1, min_percent = 0, max_percent = 100, keys = true, stop_s = 30, spot = false }
    daemon   = { cpu = 512, memory = 1024, count = 1, min_percent = 0, max_percent = 100, keys = false, stop_s = 30, spot = false }
    research = { cpu = 2048, memory = 4096, count = local.research_min, min_percent = 50, max_percent = 200, keys = false, stop_s = 60, spot = var.research_spot }
    # The ledger's lease and fence say which process sends orders. A release begins the new one, then drains the old one.
    trading = { cpu = 512, memory = 2048, count = local.is_ha ? 2 : 1, min_percent = 100, max_percent = 200, keys = true, stop_s = 120, spot = false }
    serve   = { cpu = 256, memory = 1024, count = 1, min_percent = 0, max_percent = 100, keys = true, stop_s = 120, spot = false }
  }
}
