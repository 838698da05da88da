# What an environment needs from AWS, made in the backing services instead: a database with its
# user and a queue with its dead-letter queue, the same for shipping alone, a bucket, and keys in the
# cache.
#
# Each thing is claimed in the state before it is made. `create` then makes all of them, and however
# that ends (Terraform does not run the destroy provisioner of a resource whose creation failed, and
# knows nothing of one whose creation was killed), destroying the claims removes what was made. The
# owner's mark is on the things themselves, so what others made is neither adopted nor removed.

terraform {
  required_version = ">= 1.4"

  # Empty, so that `init -backend-config` may say where the states are kept.
  backend "local" {}
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
  description = "The Compose project of the backing services."
  type        = string
  default     = "envctl-backing"
}

variable "region" {
  description = "The region that queue and bucket are in."
  type        = string
  default     = "ap-northeast-1"
}

locals {
  endpoint = "http://aws:5000"
  account  = "123456789012"
  owner    = terraform_data.identity.output.owner
  queue    = "${var.namespace}-thumbnails"
  # A database's name has at most 64 characters.
  shipping = (length(var.namespace) <= 54
    ? "${var.namespace}-shipping"
  : "${substr(var.namespace, 0, 45)}-${substr(sha256(var.namespace), 0, 8)}-shipping")

  # Keys are the addresses' last part; `thing` says which of inside/*.sh knows it.
  things = {
    database          = { thing = "database", named = var.namespace }
    dead_letter_queue = { thing = "queue", named = "${local.queue}-dead" }
    queue             = { thing = "queue", named = local.queue }
    # A bucket's name has at most 63 characters, as many as the namespace may have alone.
    bucket = { thing = "bucket", named = (length(var.namespace) <= 56
      ? "${var.namespace}-photos"
    : "${substr(var.namespace, 0, 47)}-${substr(sha256(var.namespace), 0, 8)}-photos") }
    shipping_database          = { thing = "database", named = local.shipping, login = local.shipping_user }
    shipping_dead_letter_queue = { thing = "queue", named = "${local.shipping}-dead" }
    shipping_queue             = { thing = "queue", named = local.shipping }
    # With the mark in it an environment never reads what a former one of its name left.
    cache = { thing = "cache", named = "${var.namespace}:${substr(local.owner, 0, 8)}" }
  }

  claims = { for key, claim in terraform_data.claim : key => claim.output }

  # Names of their own by construction, within MySQL's 32 characters: users carry no mark.
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

resource "terraform_data" "claim" {
  for_each = local.things

  # A destroy provisioner knows only its own resource, so all that it needs is kept here.
  input = merge({
    backing = var.backing
    region  = var.region
    owner   = local.owner
    login   = local.database_user
  }, each.value)
  triggers_replace = [var.backing, var.region, each.value.named]

  provisioner "local-exec" {
    when        = destroy
    command     = "sh ./things.sh destroy"
    environment = self.output
  }
}

resource "terraform_data" "create" {
  triggers_replace = [for claim in terraform_data.claim : claim.id]

  provisioner "local-exec" {
    command = "sh ./things.sh create"
    environment = {
      backing                    = var.backing
      region                     = var.region
      owner                      = local.owner
      login                      = local.database_user
      password                   = terraform_data.identity.output.password
      database                   = local.claims.database.named
      dead_letter_queue          = local.claims.dead_letter_queue.named
      queue                      = local.claims.queue.named
      bucket                     = local.claims.bucket.named
      shipping_login             = local.shipping_user
      shipping_password          = terraform_data.shipping_identity.output.password
      shipping_database          = local.claims.shipping_database.named
      shipping_dead_letter_queue = local.claims.shipping_dead_letter_queue.named
      shipping_queue             = local.claims.shipping_queue.named
    }
  }
}
