# What Shelf needs at AWS. Each environment is a workspace: `production`, `staging`, and `review-NAME` for those
# that come and go.

terraform {
  required_version = ">= 1.6"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.62"
    }
  }

  backend "s3" {
    key          = "shelf.tfstate"
    region       = "ap-northeast-1"
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = "ap-northeast-1"
  # AWS takes both kinds of addresses, what stands in for it only this one.
  s3_use_path_style = true
}

locals {
  stage = split("-", terraform.workspace)[0]

  settings = {
    production = { loan_days = 21, keep_covers = true }
    staging    = { loan_days = 21, keep_covers = false }
    review     = { loan_days = 1, keep_covers = false }
  }

  setting = local.settings[local.stage]
}

resource "aws_s3_bucket" "covers" {
  bucket        = "shelf-covers-${terraform.workspace}"
  force_destroy = !local.setting.keep_covers
}

output "covers_bucket" {
  description = "Where pictures of covers are."
  value       = aws_s3_bucket.covers.bucket
}

output "loan_days" {
  description = "For how long a book is lent."
  value       = local.setting.loan_days
}
