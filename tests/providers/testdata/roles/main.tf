terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}

variable "role" {
  type = string
}

variable "name" {
  type = string
}

provider "aws" {
  alias = "other"
  assume_role {
    role_arn     = var.role
    session_name = "terraform"
  }
}

data "aws_caller_identity" "me" {}

data "aws_caller_identity" "other" {
  provider = aws.other
}

resource "aws_sqs_queue" "other" {
  provider = aws.other
  name     = var.name
}

output "me" {
  value = data.aws_caller_identity.me.arn
}

output "other" {
  value = data.aws_caller_identity.other.arn
}
