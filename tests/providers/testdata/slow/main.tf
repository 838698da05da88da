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

variable "delay" {
  type = number
}

resource "aws_test_slow_queue" "it" {
  name  = var.name
  delay = var.delay
}
