package cloud

import (
	"os"
	"path/filepath"
	"strings"
)

// firmware is where the kernel shows what the firmware says of the machine.
const firmware = "/sys/class/dmi/id"

// onEC2 says whether the firmware looks like an EC2 instance's. It sends nothing.
func onEC2(dir string) bool {
	says := func(name string) string {
		text, _ := os.ReadFile(filepath.Join(dir, name)) // what cannot be read says nothing
		return strings.ToLower(strings.TrimSpace(string(text)))
	}
	return says("sys_vendor") == "amazon ec2" || // Nitro
		strings.HasPrefix(says("board_asset_tag"), "i-") ||
		strings.HasPrefix(says("product_uuid"), "ec2") // Xen
}
