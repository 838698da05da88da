terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.62"
    }
  }
  backend "s3" {
    use_lockfile   = true
    use_path_style = true
  }
}

variable "name" {
  type = string
}

variable "visibility" {
  type    = number
  default = 30
}

variable "extra" {
  type    = map(string)
  default = null
}

variable "password" {
  type      = string
  default   = "one"
  sensitive = true
}

provider "aws" {
  default_tags {
    tags = {
      project = "doubles"
      both    = "block"
    }
  }
}

data "aws_caller_identity" "me" {}
data "aws_region" "here" {}

resource "aws_sqs_queue" "dead" {
  name = "${var.name}-dead"
}

resource "aws_sqs_queue" "work" {
  name                       = var.name
  visibility_timeout_seconds = var.visibility
  tags                       = var.extra
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead.arn
    maxReceiveCount     = 5
  })
}

resource "aws_s3_bucket" "photos" {
  bucket        = var.name
  force_destroy = true
  tags          = var.extra
}

resource "aws_iam_role" "app" {
  name                 = var.name
  max_session_duration = var.visibility == 30 ? 3600 : 7200
  tags                 = var.extra
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.me.account_id}:root" }
    }]
  })
}

resource "aws_iam_role_policy" "app" {
  role = aws_iam_role.app.name
  name = "queue"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = var.visibility == 30 ? ["sqs:ReceiveMessage"] : ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
      Resource = aws_sqs_queue.work.arn
    }]
  })
}

resource "aws_secretsmanager_secret" "kept" {
  name                    = "${var.name}-kept"
  recovery_window_in_days = 7
  tags                    = var.extra
}

resource "aws_secretsmanager_secret" "gone" {
  name                    = "${var.name}-gone"
  recovery_window_in_days = 0
}

resource "aws_secretsmanager_secret_version" "kept" {
  secret_id     = aws_secretsmanager_secret.kept.id
  secret_string = var.password
}

output "queue" {
  value = aws_sqs_queue.work.url
}

output "tags" {
  value = aws_sqs_queue.work.tags_all
}

output "me" {
  value = data.aws_caller_identity.me.arn
}

output "region" {
  value = data.aws_region.here.name
}

output "version" {
  value = aws_secretsmanager_secret_version.kept.version_id
}
