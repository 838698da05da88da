output "database_host" {
  value = nonsensitive(local.database.host)
}

output "database_port" {
  value = nonsensitive(local.database.port)
}

output "database_name" {
  value = mysql_database.album.name
}

output "database_user" {
  # Not before it may use the database.
  value = mysql_grant.album.user
}

output "database_password" {
  value     = terraform_data.identity.output.password
  sensitive = true
}

output "queue_url" {
  description = "As pods reach it."
  value       = aws_sqs_queue.thumbnails.url
}

output "dead_letter_queue_url" {
  value = aws_sqs_queue.dead_letters.url
}

output "shipping_database_name" {
  value = mysql_database.shipping.name
}

output "shipping_database_user" {
  value = mysql_grant.shipping.user
}

output "shipping_database_password" {
  value     = terraform_data.shipping_identity.output.password
  sensitive = true
}

output "shipping_queue_url" {
  description = "As pods reach it."
  value       = aws_sqs_queue.shipping.url
}

output "shipping_dead_letter_queue_url" {
  value = aws_sqs_queue.shipping_dead_letters.url
}

output "bucket" {
  value = aws_s3_bucket.photos.bucket
}

output "region" {
  value = var.region
}

output "role_arn" {
  description = "The role that pods assume."
  # Not before it may do what it is for.
  value      = aws_iam_role.album.arn
  depends_on = [aws_iam_role_policy.album]
}

output "shipping_role_arn" {
  description = "The role that shipping's pods assume."
  value       = aws_iam_role.shipping.arn
  depends_on  = [aws_iam_role_policy.shipping]
}

output "aws_endpoint_url" {
  description = "What pods reach instead of AWS."
  # Nothing.
  value = ""
}

output "redis_url" {
  value = nonsensitive(local.backing.redis_url)
}

output "redis_prefix" {
  # With the mark in it an environment never reads what a former one of its name left.
  value = "${var.namespace}:${substr(local.owner, 0, 8)}"
}
