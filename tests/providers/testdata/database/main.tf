terraform {
  required_providers {
    mysql = {
      source  = "petoju/mysql"
      version = "~> 3.0"
    }
  }
}

variable "name" {
  type = string
}

variable "password" {
  type      = string
  sensitive = true
}

variable "privileges" {
  type = list(string)
}

provider "mysql" {
  connect_retry_timeout_sec = 1
}

resource "mysql_database" "app" {
  name = var.name
}

resource "mysql_user" "app" {
  user               = var.name
  host               = "%"
  plaintext_password = var.password
}

resource "mysql_grant" "app" {
  user       = mysql_user.app.user
  host       = mysql_user.app.host
  database   = mysql_database.app.name
  privileges = var.privileges
}
