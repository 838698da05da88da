terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}

variable "allowed" {
  type    = list(string)
  default = null
}

variable "forbidden" {
  type    = list(string)
  default = null
}

variable "endpoint" {
  type    = string
  default = null
}

provider "aws" {
  region                = "ap-northeast-1"
  allowed_account_ids   = var.allowed
  forbidden_account_ids = var.forbidden
  s3_use_path_style     = true
  max_retries           = 1

  endpoints {
    sqs = var.endpoint
    sts = var.endpoint
  }
}

data "aws_caller_identity" "me" {}

output "account" {
  value = data.aws_caller_identity.me.account_id
}
