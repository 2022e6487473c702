//! The kinds that are read. Few of their fields are, so they have no types of their own.

use skiff_client::k8s_openapi::{ClusterResourceScope as Cluster, NamespaceResourceScope as Namespaced};
use skiff_client::loose::{Loose, Named};

macro_rules! kinds {
    ($($marker:ident $kind:ident $scope:ident $names:expr, $doc:literal;)*) => {
        $(
            #[doc = $doc]
            pub(crate) enum $marker {}
            impl Named for $marker {
                type Scope = $scope;
                const NAMES: [&'static str; 4] = $names;
            }
            #[doc = $doc]
            pub(crate) type $kind = Loose<$marker>;
        )*
    };
}

const NETWORKING: &str = "networking.k8s.io";
const GATEWAYS: &str = crate::gateway::GROUP;

kinds! {
    OfIngresses Ingress Namespaced [NETWORKING, "v1", "Ingress", "ingresses"], "How requests come from outside to services.";
    OfClasses IngressClass Cluster [NETWORKING, "v1", "IngressClass", "ingressclasses"], "Whose ingresses these are.";
    OfGatewayClasses GatewayClass Cluster [GATEWAYS, "v1", "GatewayClass", "gatewayclasses"], "Whose gateways these are.";
    OfGateways Gateway Namespaced [GATEWAYS, "v1", "Gateway", "gateways"], "Where requests come in.";
    OfHttpRoutes HTTPRoute Namespaced [GATEWAYS, "v1", "HTTPRoute", "httproutes"], "Where requests go.";
    OfGrpcRoutes GRPCRoute Namespaced [GATEWAYS, "v1", "GRPCRoute", "grpcroutes"], "Where calls of gRPC go.";
    OfGrants ReferenceGrant Namespaced [GATEWAYS, "v1beta1", "ReferenceGrant", "referencegrants"],
        "Who may name what in another namespace.";
}
