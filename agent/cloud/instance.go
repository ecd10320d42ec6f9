package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// maxTags is how many tags an instance may have.
const maxTags = 50

// tagKey is what a key of a tag may be that the service shows. It is put into a path.
var tagKey = regexp.MustCompile(`^[\p{L}\p{N}+\-=.,_:@]{1,128}$`)

// word is what a short value looks like.
var word = regexp.MustCompile(`^[A-Za-z0-9:._-]{1,64}$`)

// instance is what the service says of the instance. Without an identity there is none; the rest may be in part.
func (m metadata) instance(ctx context.Context) (Instance, error) {
	doc, err := m.identity(ctx)
	if err != nil {
		return Instance{}, err
	}
	i := Instance{
		ID: doc.InstanceID, Type: doc.InstanceType, Region: doc.Region, Zone: doc.AvailabilityZone,
		Image: doc.ImageID, Account: doc.AccountID,
	}
	for _, name := range []string{i.ID, i.Type, i.Region, i.Zone, i.Image, i.Account} {
		if !word.MatchString(name) {
			return Instance{}, fmt.Errorf("read identity document: %.80q is no name", name)
		}
	}
	i.Private, _ = netip.ParseAddr(doc.PrivateIP) // absent where there is only IPv6
	var errs [4]error
	i.Public, errs[0] = m.address(ctx, "public-ipv4")
	i.IPv6, errs[1] = m.address(ctx, "ipv6")
	i.Lifecycle, errs[2] = m.word(ctx, "instance-life-cycle")
	i.Tags, errs[3] = m.tags(ctx)
	return i, errors.Join(errs[:]...)
}

func (m metadata) address(ctx context.Context, path string) (netip.Addr, error) {
	text, there, err := m.read(ctx, path)
	if err != nil || !there {
		return netip.Addr{}, err
	}
	addr, err := netip.ParseAddr(strings.TrimSpace(string(text)))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("read %s: %.80q is no address", path, text)
	}
	return addr, nil
}

func (m metadata) word(ctx context.Context, path string) (string, error) {
	text, there, err := m.read(ctx, path)
	if err != nil || !there {
		return "", err
	}
	if text := strings.TrimSpace(string(text)); word.MatchString(text) {
		return text, nil
	}
	return "", fmt.Errorf("read %s: %.80q is no word", path, text)
}

func (m metadata) tags(ctx context.Context) (map[string]string, error) {
	const path = "tags/instance"
	text, there, err := m.read(ctx, path)
	if err != nil || !there {
		return nil, err
	}
	keys := strings.Fields(string(text))
	if len(keys) > maxTags {
		return nil, fmt.Errorf("read %s: %d tags", path, len(keys))
	}
	tags := map[string]string{}
	for _, key := range keys {
		if !tagKey.MatchString(key) || strings.Trim(key, ".") == "" {
			return nil, fmt.Errorf("read %s: %.80q is no key", path, key)
		}
		value, there, err := m.read(ctx, path+"/"+key)
		if err != nil {
			return nil, err
		}
		if there {
			tags[key] = strings.ToValidUTF8(string(value), "\uFFFD")
		}
	}
	return tags, nil
}
