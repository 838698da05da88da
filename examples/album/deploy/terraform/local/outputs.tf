# Nothing is told before it is there, hence the dependency on its creation.

output "database_host" {
  value = "mysql"
}

output "database_port" {
  value = 3306
}

output "database_name" {
  value      = local.claims.database.named
  depends_on = [terraform_data.create]
}

output "database_user" {
  value      = local.database_user
  depends_on = [terraform_data.create]
}

output "database_password" {
  value      = terraform_data.identity.output.password
  sensitive  = true
  depends_on = [terraform_data.create]
}

output "queue_url" {
  description = "As pods reach it."
  value       = "${local.endpoint}/${local.account}/${local.claims.queue.named}"
  depends_on  = [terraform_data.create]
}

output "dead_letter_queue_url" {
  value      = "${local.endpoint}/${local.account}/${local.claims.dead_letter_queue.named}"
  depends_on = [terraform_data.create]
}

output "shipping_database_name" {
  value      = local.claims.shipping_database.named
  depends_on = [terraform_data.create]
}

output "shipping_database_user" {
  value      = local.shipping_user
  depends_on = [terraform_data.create]
}

output "shipping_database_password" {
  value      = terraform_data.shipping_identity.output.password
  sensitive  = true
  depends_on = [terraform_data.create]
}

output "shipping_queue_url" {
  description = "As pods reach it."
  value       = "${local.endpoint}/${local.account}/${local.claims.shipping_queue.named}"
  depends_on  = [terraform_data.create]
}

output "shipping_dead_letter_queue_url" {
  value      = "${local.endpoint}/${local.account}/${local.claims.shipping_dead_letter_queue.named}"
  depends_on = [terraform_data.create]
}

output "bucket" {
  value      = local.claims.bucket.named
  depends_on = [terraform_data.create]
}

output "region" {
  value = var.region
}

output "role_arn" {
  description = "The role that pods assume."
  # The stand-in for AWS has none, and takes any keys.
  value = ""
}

output "shipping_role_arn" {
  description = "The role that shipping's pods assume."
  value       = ""
}

output "aws_endpoint_url" {
  description = "What pods reach instead of AWS."
  value       = local.endpoint
}

output "redis_url" {
  value = "redis://redis:6379/0"
}

output "redis_prefix" {
  value = local.claims.cache.named
}
