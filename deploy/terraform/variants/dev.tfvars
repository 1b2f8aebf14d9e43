# terraform plan -var-file variants/dev.tfvars -var-file terraform.tfvars
variant = "dev"
venue   = "paper"
