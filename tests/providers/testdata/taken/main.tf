terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}

variable "name" {
  type = string
}

resource "aws_sqs_queue" "it" {
  name = "${var.name}-attribute"
  tags = { by = "terraform" }
}

resource "aws_sqs_queue" "tagged" {
  name = "${var.name}-tag"
  tags = { by = "terraform" }
}

resource "aws_sqs_queue" "same" {
  name = "${var.name}-same"
  tags = { by = "terraform" }
}

resource "aws_s3_bucket" "it" {
  bucket = var.name
}

resource "aws_iam_role" "it" {
  name = var.name
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
}

resource "aws_secretsmanager_secret" "it" {
  name = var.name
}
