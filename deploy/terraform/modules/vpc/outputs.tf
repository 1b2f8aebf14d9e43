output "id" { value = aws_vpc.this.id }
output "public_subnet_ids" { value = [for index, _ in var.zones : aws_subnet.this["public-${index}"].id] }
output "private_subnet_ids" { value = [for index, _ in var.zones : aws_subnet.this["private-${index}"].id] }
output "database_subnet_ids" { value = [for index, _ in var.zones : aws_subnet.this["database-${index}"].id] }
output "nat_addresses" { value = aws_eip.nat[*].public_ip }
