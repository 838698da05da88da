terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}

variable "moment" {
  type = string
}

variable "file" {
  type    = string
  default = null
}

resource "aws_test_fail" "it" {
  on           = var.moment
  message      = "there is a limit to everything"
  while_exists = var.file
}
