# Amazon machine images with dynod, from Debian 12 and Amazon Linux 2023:
#
#   packer init packaging/ami
#   packer build -var region=eu-west-1 -var input=build/ami packaging/ami
#
# An instance gets its settings and certificates by user data or a configuration tool, as files in /etc/dynod and its
# conf.d, followed by a restart of dynod. The image itself holds no secret.

variable "region" {
  type        = string
  description = "Region in which the image is made."
}

variable "input" {
  type        = string
  description = "Directory with packages/, dynod's deb and rpm of one version, and stacks/, stack images as OCI archives <name>.tar, if any."
}

variable "arch" {
  type        = string
  default     = "amd64"
  description = "amd64 or arm64."
}

variable "subnet_id" {
  type        = string
  default     = null
  description = "Subnet of the builder. Default: one of the default VPC."
}

locals {
  stamp     = formatdate("YYYYMMDDhhmm", timestamp())
  instances = { amd64 = "m7i.large", arm64 = "m7g.large" }
  linux     = { amd64 = "x86_64", arm64 = "arm64" }
}

source "amazon-ebs" "debian" {
  region        = var.region
  subnet_id     = var.subnet_id
  instance_type = local.instances[var.arch]
  ssh_username  = "admin"
  ami_name      = "dynod-debian-12-${var.arch}-${local.stamp}"

  source_ami_filter {
    owners      = ["136693071363"] # Debian
    most_recent = true
    filters = {
      name                = "debian-12-${var.arch}-*"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
  }

  # Dynos have no way to the metadata service; with a hop limit of 1 nothing that is relayed has. That is also the limit
  # to choose for the instances.
  imds_support = "v2.0"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_size           = 16
    volume_type           = "gp3"
    iops                  = 3000
    throughput            = 125
    delete_on_termination = true
  }
}

source "amazon-ebs" "amazonlinux" {
  region        = var.region
  subnet_id     = var.subnet_id
  instance_type = local.instances[var.arch]
  ssh_username  = "ec2-user"
  ami_name      = "dynod-al2023-${var.arch}-${local.stamp}"

  source_ami_filter {
    owners      = ["amazon"]
    most_recent = true
    filters = {
      name                = "al2023-ami-2023.*-kernel-6.*-${local.linux[var.arch]}"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
  }

  imds_support = "v2.0"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_size           = 16
    volume_type           = "gp3"
    iops                  = 3000
    throughput            = 125
    delete_on_termination = true
  }
}

build {
  sources = ["source.amazon-ebs.debian", "source.amazon-ebs.amazonlinux"]

  provisioner "shell" {
    inline = ["install -d -m 0700 /tmp/dynod /tmp/dynod/files"]
  }

  provisioner "file" {
    source      = "${var.input}/"
    destination = "/tmp/dynod"
  }

  provisioner "file" {
    source      = "${path.root}/files/"
    destination = "/tmp/dynod/files"
  }

  provisioner "shell" {
    script          = "${path.root}/provision.sh"
    execute_command = "sudo bash {{ .Path }} /tmp/dynod"
  }
}
