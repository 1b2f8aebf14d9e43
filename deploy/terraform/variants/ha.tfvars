# terraform plan -var-file variants/ha.tfvars -var-file terraform.tfvars
variant = "ha"
