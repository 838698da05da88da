# What an environment on the shared cluster needs: a database with its user on the shared server, a
# queue with its dead-letter queue, a bucket, and a role by which its pods reach them. Shipping has a
# database, queues and a role of its own.
#
# Variables and outputs are those of ../local, so that the chart cannot tell where it is.

terraform {
  required_version = ">= 1.10"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.62"
    }
    mysql = {
      source  = "petoju/mysql"
      version = "~> 3.0"
    }
  }

  # The bucket is named by the stack file. Each environment is a workspace of its own.
  backend "s3" {
    key          = "album.tfstate"
    region       = "ap-northeast-1"
    encrypt      = true
    use_lockfile = true
  }
}

variable "environment" {
  description = "The environment's name."
  type        = string
}

variable "namespace" {
  description = "What all names start with; unique among the environments of one backing."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.namespace))
    error_message = "The namespace has to be a DNS label."
  }
}

variable "backing" {
  description = "The secret in which the platform's team describes what all environments share."
  type        = string
  default     = "shared-dev/backing"
}

variable "region" {
  description = "The region that queue and bucket are in."
  type        = string
  default     = "ap-northeast-1"
}

provider "aws" {
  region = var.region
  default_tags {
    tags = { project = "album" }
  }
}

# {"database": {"host", "port", "username", "password"}, "redis_url", "oidc_provider"}: an
# administrator of the shared server, the shared cache, and the ARN by which IAM knows the cluster.
# It is read by whoever may, so no password has to be on anybody's machine.
data "aws_secretsmanager_secret_version" "backing" {
  secret_id = var.backing
}

provider "mysql" {
  endpoint = "${local.database.host}:${local.database.port}"
  username = local.database.username
  password = local.database.password
}

locals {
  backing  = jsondecode(data.aws_secretsmanager_secret_version.backing.secret_string)
  database = local.backing.database
  # Only the administrator's password is a secret, and what is one shows in no plan.
  oidc_provider = nonsensitive(local.backing.oidc_provider)
  issuer        = split(":oidc-provider/", local.oidc_provider)[1]

  owner = terraform_data.identity.output.owner
  queue = "${var.namespace}-thumbnails"
  # Names of buckets and roles have at most 63 and 64 characters, as many as the namespace may have alone.
  short = length(var.namespace) <= 56 ? var.namespace : "${substr(var.namespace, 0, 47)}-${substr(sha256(var.namespace), 0, 8)}"
  shipping = (length(var.namespace) <= 54
    ? "${var.namespace}-shipping"
  : "${substr(var.namespace, 0, 45)}-${substr(sha256(var.namespace), 0, 8)}-shipping")
  # Names of their own by construction, within MySQL's 32 characters.
  database_user = "album_${substr(sha256(local.owner), 0, 24)}"
  shipping_user = "ship_${substr(sha256(local.owner), 0, 24)}"
}

# Random once, then kept: a later plan must not change them.
resource "terraform_data" "identity" {
  input = {
    owner    = uuid()
    password = sensitive(replace(uuid(), "-", ""))
  }

  lifecycle {
    ignore_changes = [input]
  }
}

resource "terraform_data" "shipping_identity" {
  input = {
    password = sensitive(replace(uuid(), "-", ""))
  }

  lifecycle {
    ignore_changes = [input]
  }
}

resource "mysql_database" "album" {
  name = var.namespace
}

resource "mysql_user" "album" {
  user               = local.database_user
  host               = "%"
  plaintext_password = terraform_data.identity.output.password
}

resource "mysql_grant" "album" {
  user       = mysql_user.album.user
  host       = mysql_user.album.host
  database   = mysql_database.album.name
  privileges = ["ALL"]
}

resource "mysql_database" "shipping" {
  name = local.shipping
}

resource "mysql_user" "shipping" {
  user               = local.shipping_user
  host               = "%"
  plaintext_password = terraform_data.shipping_identity.output.password
}

resource "mysql_grant" "shipping" {
  user       = mysql_user.shipping.user
  host       = mysql_user.shipping.host
  database   = mysql_database.shipping.name
  privileges = ["ALL"]
}

resource "aws_sqs_queue" "dead_letters" {
  name = "${local.queue}-dead"
}

resource "aws_sqs_queue" "thumbnails" {
  name = local.queue
  # Three attempts, then a message is set aside for someone to look at.
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = 3
  })
}

resource "aws_sqs_queue" "shipping_dead_letters" {
  name = "${local.shipping}-dead"
}

resource "aws_sqs_queue" "shipping" {
  name = local.shipping
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.shipping_dead_letters.arn
    maxReceiveCount     = 3
  })
}

resource "aws_s3_bucket" "photos" {
  bucket        = "${local.short}-photos"
  force_destroy = true
}

# Whoever has a token of the environment's service account may be this role, and nobody else.
resource "aws_iam_role" "album" {
  name = "${local.short}-album"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = local.oidc_provider }
      Condition = {
        StringEquals = {
          "${local.issuer}:aud" = "sts.amazonaws.com"
          "${local.issuer}:sub" = "system:serviceaccount:${var.namespace}:album"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "album" {
  name = "album"
  role = aws_iam_role.album.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow"
        Action = [
          "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes", "sqs:ReceiveMessage",
          "sqs:SendMessage",
        ]
        Resource = aws_sqs_queue.thumbnails.arn
      },
      {
        Effect   = "Allow"
        Action   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
        Resource = "${aws_s3_bucket.photos.arn}/*"
      },
      {
        Effect   = "Allow"
        Action   = "s3:ListBucket"
        Resource = aws_s3_bucket.photos.arn
      },
    ]
  })
}

resource "aws_iam_role" "shipping" {
  name = local.shipping
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = local.oidc_provider }
      Condition = {
        StringEquals = {
          "${local.issuer}:aud" = "sts.amazonaws.com"
          "${local.issuer}:sub" = "system:serviceaccount:${var.namespace}:album-shipping"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "shipping" {
  name = "shipping"
  role = aws_iam_role.shipping.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = [
        "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes", "sqs:ReceiveMessage",
        "sqs:SendMessage",
      ]
      Resource = aws_sqs_queue.shipping.arn
    }]
  })
}
