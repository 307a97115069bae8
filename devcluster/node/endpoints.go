package node

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// managedBy marks the EndpointSlices of this node, so that the cluster's own
// controller leaves them alone. That one makes none for our pods: they have no
// address of their own.
const managedBy = "node.devcluster"

// announce makes an EndpointSlice for each Service that selects the pod.
func (p *pod) announce(ctx context.Context) error {
	all := p.node.client.DiscoveryV1().EndpointSlices(p.pod.Namespace)
	for _, s := range p.selectedBy() {
		slice := p.slice(s)
		_, err := all.Create(ctx, slice, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			_, err = all.Update(ctx, slice, metav1.UpdateOptions{})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// withdraw removes the pod's EndpointSlices.
func (p *pod) withdraw(ctx context.Context) error {
	return p.node.client.DiscoveryV1().EndpointSlices(p.pod.Namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{
		LabelSelector: labels.Set{discoveryv1.LabelManagedBy: managedBy, "pod": string(p.pod.UID)}.String(),
	})
}

// selectedBy returns the Services that select the pod.
func (p *pod) selectedBy() []*corev1.Service {
	var all []*corev1.Service
	for _, o := range p.node.services.GetStore().List() {
		s, ok := o.(*corev1.Service)
		if ok && s.Namespace == p.pod.Namespace && len(s.Spec.Selector) > 0 &&
			labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(p.pod.Labels)) {
			all = append(all, s)
		}
	}
	return all
}

// servicesKey changes when other Services select the pod.
func (p *pod) servicesKey() string {
	var names []string
	for _, s := range p.selectedBy() {
		names = append(names, s.Name+"@"+s.ResourceVersion)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// slice leads to the pod from a Service: each pod has its own, since each has
// other ports.
func (p *pod) slice(s *corev1.Service) *discoveryv1.EndpointSlice {
	ready := true
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: s.Name + "-" + p.pod.Name, Namespace: p.pod.Namespace,
			Labels: map[string]string{
				discoveryv1.LabelServiceName: s.Name, discoveryv1.LabelManagedBy: managedBy, "pod": string(p.pod.UID),
			},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: p.pod.Name, UID: p.pod.UID}},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{p.node.address}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.pod.Namespace, Name: p.pod.Name, UID: p.pod.UID},
		}},
	}
	for _, port := range s.Spec.Ports {
		number := int32(p.hostPort(port.TargetPort)) //nolint:gosec // a port
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &port.Name, Port: &number, Protocol: &port.Protocol})
	}
	return slice
}
