# terraform plan -var-file variants/default.tfvars -var-file terraform.tfvars
variant = "default"
