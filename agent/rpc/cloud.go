package rpc

import (
	"github.com/dynod/dynod/agent/cloud"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

var noticeKinds = map[cloud.Kind]dynodv1.Notice_Kind{
	cloud.Interruption: dynodv1.Notice_KIND_SPOT_INTERRUPTION,
	cloud.Rebalance:    dynodv1.Notice_KIND_REBALANCE,
	cloud.Maintenance:  dynodv1.Notice_KIND_MAINTENANCE,
	cloud.Lifecycle:    dynodv1.Notice_KIND_LIFECYCLE,
}

func toInstance(i cloud.Instance) *dynodv1.Instance {
	if i.ID == "" {
		return nil
	}
	return &dynodv1.Instance{
		Id: i.ID, Type: i.Type, Region: i.Region, Zone: i.Zone, ImageId: i.Image, AccountId: i.Account, Lifecycle: i.Lifecycle,
		PrivateAddress: toAddress(i.Private), PublicAddress: toAddress(i.Public), Ipv6Address: toAddress(i.IPv6), Tags: i.Tags,
	}
}

func toNotices(all []cloud.Notice) (out []*dynodv1.Notice) {
	for _, n := range all {
		out = append(out, &dynodv1.Notice{
			Kind: noticeKinds[n.Kind], Id: n.ID, Action: n.Action, DueAt: toTime(n.Due), Description: n.Text,
		})
	}
	return out
}
