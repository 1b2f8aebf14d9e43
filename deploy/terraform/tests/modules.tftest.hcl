# What single modules promise: encryption, no public address, one subnet range for each tier.
mock_provider "aws" {}

run "network" {
  command = plan
  module {
    source = "./modules/vpc"
  }
  variables {
    name                 = "test"
    region               = "ap-northeast-2"
    cidr                 = "10.0.0.0/16"
    zones                = ["ap-northeast-2a", "ap-northeast-2c"]
    nats                 = 1
    enable_vpc_endpoints = true
    endpoints_group_id   = "sg-1"
    log_retention_days   = 7
    kms_key_arn          = "arn:aws:kms:ap-northeast-2:123456789012:key/mocked"
  }
  assert {
    condition     = { for key, one in aws_subnet.this : key => one.cidr_block } == { public-0 = "10.0.0.0/24", public-1 = "10.0.1.0/24", private-0 = "10.0.10.0/24", private-1 = "10.0.11.0/24", database-0 = "10.0.20.0/24", database-1 = "10.0.21.0/24", cache-0 = "10.0.30.0/24", cache-1 = "10.0.31.0/24" }
    error_message = "Expected the sources' ranges."
  }
  assert {
    condition     = alltrue([for one in aws_subnet.this : !one.map_public_ip_on_launch])
    error_message = "No subnet gives public addresses by itself."
  }
}

run "database" {
  command = plan
  module {
    source = "./modules/rds"
  }
  variables {
    name                = "test"
    subnet_ids          = ["subnet-1", "subnet-2"]
    security_group_id   = "sg-1"
    kms_key_arn         = "arn:aws:kms:ap-northeast-2:123456789012:key/mocked"
    engine_version      = "15"
    instance_class      = "db.t3.micro"
    multi_az            = true
    storage_gb          = 20
    deletion_protection = true
  }
  assert {
    condition     = aws_db_instance.this.storage_encrypted && !aws_db_instance.this.publicly_accessible && aws_db_instance.this.multi_az
    error_message = "Expected an encrypted, private database in two zones."
  }
  assert {
    condition     = aws_db_instance.this.backup_retention_period == 7 && aws_db_instance.this.manage_master_user_password
    error_message = "Expected seven days of backups, and a password that is not in the state."
  }
}

run "broker" {
  command = plan
  module {
    source = "./modules/mq"
  }
  variables {
    name              = "test"
    subnet_ids        = ["subnet-1"]
    security_group_id = "sg-1"
    kms_key_arn       = "arn:aws:kms:ap-northeast-2:123456789012:key/mocked"
    instance_type     = "mq.t3.micro"
    deployment_mode   = "SINGLE_INSTANCE"
    password          = "not-a-secret-at-all"
  }
  assert {
    condition     = !aws_mq_broker.this.publicly_accessible && !aws_mq_broker.this.encryption_options[0].use_aws_owned_key
    error_message = "Expected a private broker, encrypted by our key."
  }
}

run "files_and_images" {
  command = plan
  module {
    source = "./modules/efs"
  }
  variables {
    name              = "test"
    subnet_ids        = ["subnet-1", "subnet-2"]
    security_group_id = "sg-1"
    kms_key_arn       = "arn:aws:kms:ap-northeast-2:123456789012:key/mocked"
  }
  assert {
    condition     = aws_efs_file_system.this.encrypted && aws_efs_access_point.this.posix_user[0].uid == 10001
    error_message = "Expected an encrypted folder of the image's user."
  }
}

run "tables" {
  command = plan
  module {
    source = "./modules/dynamodb"
  }
  variables {
    prefix      = "crypto-backtest-"
    kms_key_arn = "arn:aws:kms:ap-northeast-2:123456789012:key/mocked"
  }
  assert {
    condition     = alltrue([for one in aws_dynamodb_table.this : one.server_side_encryption[0].enabled && one.billing_mode == "PAY_PER_REQUEST"])
    error_message = "Expected encrypted tables, billed on demand."
  }
}

run "who_speaks_to_whom" {
  command = apply
  module {
    source = "./modules/security_groups"
  }
  variables {
    name          = "test"
    vpc_id        = "vpc-1"
    allowed_cidrs = ["10.0.0.0/16"]
    with_balancer = true
  }
  assert {
    condition     = length([for one in aws_vpc_security_group_ingress_rule.inside : one if one.cidr_ipv4 != null]) == 0
    error_message = "Inside, groups are named, not addresses."
  }
  assert {
    condition     = alltrue([for one in aws_vpc_security_group_ingress_rule.people : one.security_group_id == aws_security_group.this["balancer"].id])
    error_message = "Only the balancer is reached by address."
  }
}
